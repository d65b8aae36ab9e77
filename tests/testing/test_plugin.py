"""The pytest plugin and `assert_history`, as an application's own suite uses them."""

import pytest

pytest_plugins = ["pytester"]

CONFTEST = """
import pytest
from sqlalchemy.orm import DeclarativeBase, Mapped, mapped_column
from chrononaut_pg import Versioned

pytest_plugins = ["chrononaut_pg.testing.plugin"]


class Base(DeclarativeBase):
    pass


class User(Versioned, Base):
    __tablename__ = "appuser"
    __chrononaut_hidden__ = ["password"]
    id: Mapped[int] = mapped_column(primary_key=True)
    email: Mapped[str]
    password: Mapped[str | None]


@pytest.fixture(scope="session")
def chrononaut_metadata():
    return Base.metadata


@pytest.fixture(scope="session")
def chrononaut_url():
    return {url!r}


@pytest.fixture
def user(chrononaut_session):
    found = User(email="a@example.com")
    chrononaut_session.add(found)
    chrononaut_session.commit()
    return found
"""


def outcome(
    pytester: pytest.Pytester, db_url: str, test: str
) -> tuple[dict[str, int], str]:
    url = db_url.replace("postgresql:", "postgresql+psycopg:")
    pytester.makeconftest(CONFTEST.replace("{url!r}", repr(url)))
    pytester.makepyfile(test)
    result = pytester.runpytest_subprocess("-q", "--strict-markers")
    return result.parseoutcomes(), result.stdout.str()


def test_every_test_starts_from_an_empty_table(
    pytester: pytest.Pytester, db_url: str
) -> None:
    test = """
import pytest
from sqlalchemy import text

@pytest.mark.parametrize("n", [1, 2])
def test_one(user, chrononaut_session, n):
    assert chrononaut_session.scalar(text("select count(*) from appuser")) == 1
"""
    assert outcome(pytester, db_url, test)[0] == {"passed": 2}


def test_history_is_recorded_only_if_asked_for(
    pytester: pytest.Pytester, db_url: str
) -> None:
    test = """
import pytest

def change(user, session):
    user.email = "b@example.com"
    session.commit()
    return [one.email for one in user.versions()]

def test_off(user, chrononaut_session):
    assert change(user, chrononaut_session) == []

@pytest.mark.versioned
def test_on(user, chrononaut_session):
    assert change(user, chrononaut_session) == ["a@example.com"]
"""
    assert outcome(pytester, db_url, test)[0] == {"passed": 2}


def test_assert_history_compares_operations_and_fields(
    pytester: pytest.Pytester, db_url: str
) -> None:
    test = """
import pytest
from chrononaut_pg.testing import assert_history

@pytest.mark.versioned
def test_it(user, chrononaut_session):
    user.email = "b@example.com"
    chrononaut_session.commit()
    user.password = "secret"
    chrononaut_session.commit()
    chrononaut_session.delete(user)
    chrononaut_session.commit()
    email = {"email": ("a@example.com", "b@example.com")}
    assert_history(
        user, "insert", email, {"password": None}, "delete", session=chrononaut_session
    )
"""
    assert outcome(pytester, db_url, test)[0] == {"passed": 1}


def test_assert_history_shows_what_it_found(
    pytester: pytest.Pytester, db_url: str
) -> None:
    test = """
import pytest
from chrononaut_pg.testing import assert_history

@pytest.mark.versioned
def test_it(user, chrononaut_session):
    user.email = "b@example.com"
    chrononaut_session.commit()
    assert_history(user, "insert")
"""
    outcomes, printed = outcome(pytester, db_url, test)

    assert outcomes == {"failed": 1}
    assert "{'email': ('a@example.com', 'b@example.com')}" in printed
