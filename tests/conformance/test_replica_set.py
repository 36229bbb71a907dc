"""The replica set that tests and ``scripts/cluster`` run on: real members that die, come back and change roles."""

import pytest
from pymongo import MongoClient

from tornflow.testing.mongod import NoMongod, ReplicaSet


@pytest.fixture(scope="module")
def database(tmp_path_factory):
    try:
        with ReplicaSet(tmp_path_factory.mktemp("set"), members=3, election_timeout_s=1.0) as database:
            yield database
    except NoMongod as error:
        pytest.skip(str(error))


def test_three_members_elect_one_primary(database):
    first = database.primary()
    assert len(database.secondaries()) == 2
    assert first.command({"hello": 1})["setName"] == "rs0"


def test_a_killed_primary_is_replaced_and_comes_back_with_its_data(database):
    with MongoClient(database.uri) as client:
        client.get_database("t", write_concern=None).c.insert_one({"_id": "before"})
        first = database.primary()
        first.kill()
        assert not first.is_running
        second = database.primary()
        assert second is not first
        client.t.c.insert_one({"_id": "after"})
        first.restart()
        assert {one["_id"] for one in client.t.c.find()} == {"before", "after"}
        assert len(database.secondaries()) == 2


def test_a_primary_that_steps_down_leaves_the_part_to_another(database):
    before = database.step_down(30)
    assert database.primary() is not before


def test_a_frozen_member_answers_again_after_it_is_resumed(database):
    member = database.secondaries()[0]
    member.freeze()
    member.resume()
    assert member.command({"ping": 1})["ok"] == 1
