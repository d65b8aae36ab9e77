"""Databases that other tools wrote, once a module: its tests start from copies."""

import copy
from dataclasses import dataclass
from typing import Any, Protocol

import pytest

from tests.converters.environments import run_writer
from tests.servers import Cluster, TemplateOf


@dataclass(frozen=True)
class Source:
    """A database that a tool wrote, and what the tool answers about it."""

    dbname: str
    kept: Any

    @property
    def answers(self) -> Any:
        return copy.deepcopy(self.kept)


class Written(Protocol):
    """Lets a tool write into a database that has only the core."""

    def __call__(
        self, tool: str, *arguments: str, driver: str | None = None
    ) -> Source: ...


@pytest.fixture(scope="module")
def written(server: Cluster, superuser: str, template_of: TemplateOf) -> Written:
    def write(tool: str, *arguments: str, driver: str | None = None) -> Source:
        name = template_of()
        url = server.url(name, user=superuser, driver=driver)
        return Source(name, run_writer(tool, url, *arguments))

    return write
