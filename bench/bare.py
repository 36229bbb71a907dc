"""The bare program of the shared bench: started where it lies, never copied."""

from __future__ import annotations

import asyncio
import json
import subprocess
from pathlib import Path

from bench.processes import LOAD_CPU, SERVER_CPU, NotRunning, end, free_port, spawn
from bench.wire import Broken, Client

VARIANTS = {
    "memory": "+ uvloop",
    "sqlite": "sqlite FULL, group in thread, row stmts",
    "mongodb": "mongo maj, grouped, async",
}
"""The variant that each store is compared with."""
_LIST = "import json, bare_flow as b; print(json.dumps({v[0]: dict(zip(b.KEYS, v[1:])) for v in b.VARIANTS}))"


class BareProgram:
    """One process of it."""

    def __init__(self, python: str, home: Path, store: str, executor_port: int, folder: Path, mongodb_uri: str) -> None:
        self.port = free_port()
        self._python, self._home, self._folder = python, home, folder
        self._config = self._configuration(VARIANTS[store])
        self._rest = [str(executor_port), str(folder), mongodb_uri]

    async def start(self, timeout_s: float = 20.0) -> None:
        """Raises: NotRunning."""
        output = self._folder / "bare.log"
        command = [self._python, str(self._home / "bare_flow.py"), "serve", self._config, str(self.port), *self._rest]
        self.process = spawn(command, cpu=SERVER_CPU, output=output, environ={"PYTHONDONTWRITEBYTECODE": "1"})
        client = Client(self.port, timeout_s=2.0)
        for _ in range(int(timeout_s / 0.05)):
            if self.process.poll() is not None:
                break
            try:
                await client.get("/nothing")
                client.close()
                return
            except Broken:
                await asyncio.sleep(0.05)
        raise NotRunning(f"the bare program did not start: {output.read_text('utf-8', 'replace')[-1000:]}")

    def stop(self) -> None:
        end(self.process, patience_s=3.0)

    def _configuration(self, label: str) -> str:
        """Ask the program itself what the variant consists of."""
        done = subprocess.run(
            ["taskset", "-c", str(LOAD_CPU), self._python, "-B", "-c", _LIST],
            cwd=self._home, capture_output=True, text=True, timeout=60,
        )  # fmt: skip
        if done.returncode:
            raise NotRunning(f"the bare program cannot be read in {self._home}: {done.stderr[-800:]}")
        return json.dumps(json.loads(done.stdout)[label])
