"""Who may see what: from the claims of a login to the queries that are sent."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import datetime, timedelta, timezone
from itertools import product
from typing import Any

import pytest

from conf.operations import Access
from dashboard.claims import NotLoggedIn, Refused, groups_of, viewer_of
from dashboard.store.access import RULES, Person, SeesAll, Share, share
from dashboard.store.reader import OWN_S, Reader
from schemas import documents

NOW = datetime(2026, 3, 1, 12, tzinfo=timezone.utc)
ACCESS = Access(login=True, user_claim="email")
ANN = {"is_logged_in": True, "iat": NOW.timestamp() - 60, "email": "ann@example.org", "email_verified": True}


def viewer(access: Access = ACCESS, **claims: Any) -> Person | SeesAll:
    return viewer_of({**ANN, **claims}, access, NOW)


def test_without_login_everybody_sees_all() -> None:
    assert viewer_of({}, Access(), NOW) == SeesAll()


def test_a_login_is_a_person() -> None:
    assert viewer() == Person("ann@example.org")
    assert viewer(Access(login=True, user_claim="sub"), sub="1") == Person("1")


@pytest.mark.parametrize("groups", [["admins"], ["staff", "admins"], ("admins",), "admins"])
def test_members_of_the_group_see_all(groups: Any) -> None:
    assert viewer(groups=groups) == SeesAll()


@pytest.mark.parametrize(
    "groups",
    [None, [], "not-admins", "admins,staff", ["Admins"], [["admins"]], {"admins": 1}, b"admins", 1, True],
)
def test_whatever_else_the_claim_of_groups_is_gives_no_rights(groups: Any) -> None:
    assert viewer(groups=groups) == Person("ann@example.org")


@pytest.mark.parametrize(
    "claims", [{}, {"is_logged_in": False}, {"is_logged_in": "true"}, {"is_logged_in": 1}]
)
def test_nobody_sees_nothing(claims: Mapping[str, Any]) -> None:
    with pytest.raises(NotLoggedIn):
        viewer_of({**ANN, "is_logged_in": None, **claims}, ACCESS, NOW)


@pytest.mark.parametrize(
    "email", [None, "", " ", " ann", "ann\n", "a\x00b", "a\u202eb", 1, True, ["ann"], {"a": 1}, "x" * 600]
)
@pytest.mark.parametrize("groups", [[], ["admins"]])
def test_a_claim_that_is_missing_or_no_name_is_refused_to_admins_too(email: Any, groups: list[str]) -> None:
    with pytest.raises(Refused) as error:
        viewer(email=email, groups=groups)
    assert "email" in str(error.value)


@pytest.mark.parametrize("verified", [False, "false", None, 1, "yes", ["true"]])
def test_an_unverified_address_is_refused(verified: Any) -> None:
    with pytest.raises(Refused):
        viewer(email_verified=verified)


def test_an_address_of_which_nothing_is_said_may_be_trusted_but_not_one_that_is_unverified() -> None:
    trusting = Access(login=True, trust_email=True)
    assert viewer(trusting, email_verified=None) == Person("ann@example.org")
    with pytest.raises(Refused):
        viewer(trusting, email_verified=False)
    other = Access(login=True, user_claim="sub")
    assert viewer(other, sub="7", email_verified=False) == Person("7")


@pytest.mark.parametrize("age", [timedelta(hours=12, seconds=1), timedelta(minutes=-6)])
def test_an_old_login_must_be_made_anew(age: timedelta) -> None:
    with pytest.raises(NotLoggedIn):
        viewer(iat=(NOW - age).timestamp(), groups=["admins"])
    assert viewer(iat=(NOW - timedelta(hours=11)).timestamp()) == Person("ann@example.org")


@pytest.mark.parametrize("iat", [None, "1", True, [], float("nan")])
def test_a_login_without_its_time_is_refused(iat: Any) -> None:
    with pytest.raises((Refused, NotLoggedIn)):
        viewer(iat=iat)


@pytest.mark.parametrize("user_id", ["", None, 1])
def test_there_is_no_person_without_a_name(user_id: Any) -> None:
    with pytest.raises(ValueError, match="user_id"):
        Person(user_id)


def test_groups_are_texts() -> None:
    assert groups_of(["a", 1, None, "b"]) == ("a", "b")


def own() -> list[str]:
    return ["r1", "r2"]


class Untouchable:
    """A client of whose collections none may be read."""

    def get_database(self, name: str) -> Untouchable:
        return self

    def __getitem__(self, name: str) -> Any:
        raise AssertionError(f"{name} was read")


@pytest.mark.parametrize("name", sorted({c.name for c in documents.COLLECTIONS} - set(RULES)))
def test_a_collection_without_a_rule_is_not_even_asked_for_a_person(name: str) -> None:
    reader = Reader(Untouchable(), "d", Person("ann"))  # type: ignore[arg-type]
    assert reader.find(name) == []
    assert reader.aggregate(name, [{"$match": {}}]) == []
    assert reader.count(name) == 0
    assert reader.distinct(name, "_id") == []


def test_what_holds_messages_and_machines_of_all_has_no_rule() -> None:
    assert not RULES.keys() & {
        documents.REJECTED, documents.ACCOUNTS, documents.NODE_WINDOWS, documents.NODE_METRICS, documents.LATE
    }  # fmt: skip
    assert RULES.keys() <= {c.name for c in documents.COLLECTIONS}


def test_every_rule_names_the_person_or_shows_only_some_fields() -> None:
    for name in RULES:
        found = share(Person("ann"), name, own)
        assert found is not None
        if not found.condition:
            assert found.fields is not None
            assert not {"host", "rows_in", "accepted", "data", "scores"} & set(found.fields)
        else:
            assert "ann" in repr(found.condition) or "r1" in repr(found.condition)


def test_an_all_seer_asks_as_before() -> None:
    found = share(SeesAll(), documents.REJECTED, own)
    assert found is not None
    assert (found.query({"a": 1}), found.names(["a"]), found.names(None)) == ({"a": 1}, {"a": 1}, None)
    assert found.stages([{"$group": {"_id": None}}]) == [{"$group": {"_id": None}}]


def test_a_match_that_leads_stays_first_and_what_may_be_seen_stands_before_all_else() -> None:
    found = Share({"user_id": "ann"}, ("a",))
    mine, some = {"$match": {"user_id": "ann"}}, {"$project": {"a": 1}}
    assert found.stages([{"$match": {"x": 1}}, {"$group": {}}]) == [
        {"$match": {"x": 1}},
        mine,
        some,
        {"$group": {}},
    ]
    assert found.stages([{"$group": {}}]) == [mine, some, {"$group": {}}]


def test_what_the_first_match_says_already_is_not_said_again() -> None:
    found = Share({"$or": [{"d": "user", "k": "ann"}, {"d": "run", "k": {"$in": ["r1", "r2"]}}]})
    mine: dict[str, Any] = {"$match": {"d": "run", "k": {"$in": ["r2"]}, "at": 3}}
    assert found.stages([mine, {"$group": {}}]) == [mine, {"$group": {}}]
    for other in (
        {"d": "run", "k": {"$in": ["r2", "r3"]}},
        {"d": "user"},
        {"k": "r1"},
        {"d": "user", "k": "r1"},
    ):
        assert found.stages([{"$match": other}]) == [{"$match": other}, {"$match": found.condition}]


def test_hidden_fields_are_not_shown_by_asking_for_them() -> None:
    found = Share({}, ("at", "lag"))
    assert found.names(["at", "host", "lag.x"]) == {"at": 1, "lag.x": 1}
    assert found.names(["host"]) == {"_id": 1}
    assert found.names(None) == {"at": 1, "lag": 1}
    assert not found.shows("host")


WANTED: list[Any] = [None, "x", "y", {"$in": []}, {"$in": ["x"]}, {"$in": ["x", "y"]}]
PLAIN = [
    {name: value for name, value in (("a", first), ("b", second)) if value is not None}
    for first, second in product(WANTED, WANTED)
]
CONDITIONS = [*PLAIN, *({"$or": [one, two]} for one, two in product(PLAIN[1:12], PLAIN[6:10]))]
DOCUMENTS = [
    {name: value for name, value in (("a", first), ("b", second)) if value}
    for first, second in product(("", "x", "y"), repeat=2)
]


def fits(document: Mapping[str, Any], query: Mapping[str, Any]) -> bool:
    """As the server judges these few operators."""
    for name, wanted in query.items():
        if name in ("$and", "$or"):
            judge = all if name == "$and" else any
            if not judge(fits(document, part) for part in wanted):
                return False
        elif document.get(name) not in (wanted["$in"] if isinstance(wanted, dict) else [wanted]):
            return False
    return True


def test_what_is_found_is_what_was_asked_for_and_may_be_seen() -> None:
    """All questions, conditions and documents of a small world."""
    for asked, condition in product(PLAIN, CONDITIONS):
        sent = Share(condition).query(asked)
        for document in DOCUMENTS:
            wanted = fits(document, asked) and fits(document, condition)
            assert fits(document, sent) == wanted, (asked, condition, document)


class Runs:
    """A client with the ids of one person's runs; counts how often it is asked."""

    def __init__(self) -> None:
        self.asked = 0

    def get_database(self, name: str) -> Runs:
        return self

    def __getitem__(self, name: str) -> Runs:
        return self

    def find(self, query: Mapping[str, Any], names: Any) -> list[dict[str, Any]]:
        self.asked += query == {"user_id": "ann"}
        return [{"_id": f"r{self.asked}"}]

    def distinct(self, field: str, query: Mapping[str, Any]) -> list[Any]:
        return [query]


def test_the_list_of_own_runs_is_read_again_after_a_moment() -> None:
    times = iter([0.0, OWN_S / 2, OWN_S, OWN_S * 1.5])
    client = Runs()
    reader = Reader(client, "d", Person("ann"), clock=lambda: next(times))  # type: ignore[arg-type]
    found = [reader.distinct(documents.TRAINING_METRICS, "step")[0]["run_id"]["$in"] for _ in range(4)]
    assert found == [["r1"], ["r1"], ["r2"], ["r2"]]
