"""What changed, who set which value last, and how two versions differ."""

from collections.abc import Iterator

import pytest
from sqlalchemy import Engine, text
from sqlalchemy.orm import Session

from chrononaut_pg import (
    ChrononautException,
    change_info,
    listen,
)
from tests.orm.modelling import created, saved
from tests.orm.people import Base, Other, User


@pytest.fixture
def session(engine: Engine) -> Iterator[Session]:
    listen(engine)
    with created(engine, Base.metadata) as found:
        yield found


@pytest.fixture
def user(session: Session) -> User:
    """A user called a, then b, then c."""
    found: User = saved(session, User(id=1, name="a", age=0))
    for name in ("b", "c"):
        found.name = name
        session.commit()
    return found


def test_changes_of_an_insert_show_all_values(user: User) -> None:
    first, *_ = user.changes()

    assert (first.operation, first.before, first.after.name) == ("I", None, "a")
    assert first.values == {"id": (None, 1), "name": (None, "a"), "age": (None, 0)}


def test_changes_of_an_update_show_what_changed(user: User) -> None:
    found = [one.values for one in user.changes()][1:]

    assert found == [{"name": ("a", "b")}, {"name": ("b", "c")}]


def test_hidden_attributes_are_among_the_fields_by_their_name(
    session: Session, user: User
) -> None:
    user.secret = "x"
    session.commit()
    *_, last = user.changes()

    assert (last.fields, last.values) == (["secret"], {})
    assert user.blame()["secret"].version == 3


def test_changes_of_one_transaction_fold_into_one(session: Session, user: User) -> None:
    for name in ("d", "e", "f"):
        user.name = name
        session.flush()
    session.commit()
    *_, last = user.changes(fold="transaction")

    assert len(list(user.changes())) == 6
    assert last.values == {"name": ("c", "f")}


def test_a_row_that_lived_in_one_transaction_only_folds_to_nothing(
    session: Session,
) -> None:
    user = User(id=9, name="a")
    session.add(user)
    session.flush()
    session.delete(user)
    session.flush()
    session.commit()

    assert list(user.changes(fold="transaction", session=session)) == []


def test_delete_and_insert_in_one_transaction_fold_to_an_update(
    session: Session, user: User
) -> None:
    session.execute(text('delete from "user"'))
    session.execute(text("""insert into "user" (id, name) values (1, 'z')"""))
    session.commit()
    *_, last = user.changes(fold="transaction")

    assert (last.operation, last.before.name, last.after.name) == ("U", "c", "z")


def test_an_unknown_fold_is_refused(user: User) -> None:
    with pytest.raises(ChrononautException, match="cannot be folded by 'day'"):
        user.changes(fold="day")


def test_blame_says_who_and_why(session: Session, user: User) -> None:
    with change_info(user_id="ann", ticket=7):
        user.age = 3
        session.commit()
    blame = user.blame()["age"]

    assert (blame.version, blame.change_info) == (
        3,
        {"user_id": "ann", "remote_addr": None, "extra": {"ticket": 7}},
    )
    assert blame.changed == user.versions()[-1].changed


def test_diff_between_versions_and_to_now(user: User) -> None:
    first, second = user.versions()

    assert user.diff(first) == {"name": ("a", "c")}
    assert user.diff(first, second) == {"name": ("a", "b")}
    assert user.diff(first, user) == {"name": ("a", "c")}
    assert user.diff(second, second) == {}


def test_diff_knows_unsaved_values(user: User) -> None:
    first, _ = user.versions()
    user.name = None
    user.age = None

    assert user.diff(first) == {"name": ("a", None), "age": (0, None)}


def test_diff_with_hidden_shows_the_present_value_if_it_changed_since(
    session: Session, user: User
) -> None:
    user.secret = "x"
    session.commit()
    user.name = "d"
    session.commit()
    *_, before, after = user.versions()

    assert user.diff(before, include_hidden=True) == {
        "name": ("c", "d"),
        "secret": (None, "x"),
    }
    assert user.diff(after, include_hidden=True) == {"name": ("c", "d")}
    assert user.diff(before, to=after, include_hidden=True) == {}


def test_diff_from_the_live_version_is_empty(session: Session, user: User) -> None:
    live = session.scalars(user.select_changes()).all()[-1]

    assert user.diff(live, include_hidden=True) == {}


def test_diff_refuses_what_is_no_history(user: User) -> None:
    with pytest.raises(ChrononautException) as error:
        user.diff(user)

    assert str(error.value) == "Cannot diff from a non-history model."


def test_diff_refuses_other_rows_and_other_models(session: Session, user: User) -> None:
    other = saved(session, User(id=2, name="a"), name="b")
    another = saved(session, Other(id=1, name="a"), name="b")
    message = "You can only diff models with the same primary keys."
    for arguments in (
        (other,),
        (other.versions()[0],),
        (another.versions()[0],),
        (user.versions()[0], other),
        (user.versions()[0], another),
        (user.versions()[0], other.versions()[0]),
    ):
        with pytest.raises(ChrononautException) as error:
            user.diff(*arguments)
        assert str(error.value) == message


def test_diff_refuses_the_wrong_order(user: User) -> None:
    first, second = user.versions()
    with pytest.raises(ChrononautException, match=r"^Diffs must be chronological\. "):
        user.diff(second, first)
