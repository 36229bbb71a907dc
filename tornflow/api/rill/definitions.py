"""Descriptors and their names (rill-http-api 5.1 and 8)."""

from __future__ import annotations

from tornflow.api.reading import BadRequest
from tornflow.api.rill.errors import RillError, error_body, problems_of
from tornflow.api.routes import Answer, Call, Json
from tornflow.descriptors import to_yaml
from tornflow.errors import RequestError

_DONE = {"ret": True}


async def add_descriptor(call: Call) -> Json | Answer:
    """Register a descriptor. Whatever is wrong with it is 400 / 30110 with the inner text (rill-http-api 5.1)."""
    args = call.args
    try:
        descriptor_id = await call.edge.catalog.add(
            call.body, business=args["business_id"], feature=args["feature_name"], alias=args["alias"]
        )
    except RequestError as error:
        return error_body(400, 30110, error.message or str(error), problems_of(error))
    return {"ret": True, "descriptor_id": descriptor_id}


async def get_descriptor(call: Call) -> Json:
    """The YAML text of a descriptor; gray rules see ``uid`` and the body (rill-http-api 8.13)."""
    body: Json = call.body or {}
    uid = call.args["uid"] if call.args["uid"] is not None else _uid_of(body)
    found = await call.edge.catalog.resolve(call.args["descriptor_id"], uid=uid, input=body)
    return {"descriptor_id": call.args["descriptor_id"], "uid": str(uid), "descriptor": to_yaml(found.descriptor)}


async def get_version(call: Call) -> Json:
    business, feature, alias = call.args["business_id"], call.args["feature_name"], call.args["alias"]
    versions = await call.edge.catalog.versions(business, feature, alias)
    return {
        "business_id": business,
        "feature": feature,
        "alias": alias,
        "versions": [{"descriptor_id": one.descriptor_id, "create_time": one.created_at} for one in versions],
    }


async def get_business(call: Call) -> Json:
    return {"business_ids": list(await call.edge.catalog.businesses())}


async def get_feature(call: Call) -> Json:
    business = call.args["business_id"]
    return {"business_id": business, "features": list(await call.edge.catalog.features(business))}


async def get_alias(call: Call) -> Json:
    business, feature = call.args["business_id"], call.args["feature_name"]
    aliases = await call.edge.catalog.aliases(business, feature)
    return {"business_id": business, "feature": feature, "aliases": list(aliases)}


async def get_gray(call: Call) -> Json:
    business, feature = call.args["business_id"], call.args["feature_name"]
    rules = await call.edge.catalog.gray_rules(business, feature)
    return {"business_id": business, "feature": feature, "gray": dict(rules)}


async def modify_business(call: Call) -> Json:
    await call.edge.catalog.modify_business(call.args["business_id"], add=call.args["add"])
    return _DONE


async def modify_feature(call: Call) -> Json:
    args = call.args
    await call.edge.catalog.modify_feature(args["business_id"], args["feature_name"], add=args["add"])
    return _DONE


async def modify_alias(call: Call) -> Json:
    args = call.args
    await call.edge.catalog.modify_alias(args["business_id"], args["feature_name"], args["alias"], add=args["add"])
    return _DONE


async def modify_gray(call: Call) -> Json:
    """Set or drop the one gray rule of an alias."""
    args = call.args
    rule = args["gray_rule"] or ""
    if args["add"] and not rule.strip():
        raise RillError(30109, "gray_rule can not be empty when add gray")
    await call.edge.catalog.set_gray(
        args["business_id"], args["feature_name"], args["alias"], rule if args["add"] else None
    )
    return _DONE


def _uid_of(body: Json) -> int:
    uid = body.get("uid")
    if uid is None:
        return 0
    try:
        return int(uid)
    except (TypeError, ValueError, OverflowError) as error:
        raise BadRequest("uid", "'uid' must be an integer") from error
