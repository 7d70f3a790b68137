"""From the claims of a login to a viewer. What is missing or malformed is refused, never guessed."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import datetime
from typing import Any

from conf.operations import Access
from dashboard.store.access import Person, SeesAll, Viewer
from schemas.errors import PipelineError

MAX_CHARS = 512
S_PER_H = 3600
# A provider's clock may be this far ahead of ours.
AHEAD_S = 300
SEES_ALL = SeesAll()


class NotLoggedIn(PipelineError):
    """Nobody is logged in, or the login is too old."""


class Refused(PipelineError):
    """Somebody is logged in, but the login does not say who they are to Joulestream."""


def viewer_of(claims: Mapping[str, Any], access: Access, now: datetime) -> Viewer:
    """Who may see what. Raises NotLoggedIn or Refused, whose message says what to do."""
    if not access.login:
        return SEES_ALL
    if claims.get("is_logged_in") is not True:
        raise NotLoggedIn("please log in")
    _check_age(claims.get("iat"), access.session_hours, now)
    user_id = _user_id(claims, access)
    if access.admins_group in groups_of(claims.get(access.groups_claim)):
        return SEES_ALL
    return Person(user_id)


def user_of(claims: Mapping[str, Any], access: Access) -> str:
    """The `user_id` of a login that `viewer_of` has let pass."""
    return str(claims.get(access.user_claim))


def groups_of(value: Any) -> tuple[str, ...]:
    """Names of groups: a list of texts, or one text that is one group. Anything else is no group."""
    if isinstance(value, str):
        return (value,)
    if not isinstance(value, Sequence) or isinstance(value, (bytes, bytearray)):
        return ()
    return tuple(item for item in value if isinstance(item, str))


def _user_id(claims: Mapping[str, Any], access: Access) -> str:
    name = access.user_claim
    value = claims.get(name)
    if value is None:
        raise Refused(
            f"your login has no claim {name!r}, which says whose runs are yours; ask the administrator to let the "
            "provider send it, or to name another one in access.user_claim / JOULE_ACCESS_USER_CLAIM"
        )
    if not isinstance(value, str) or not value.strip() or value != value.strip() or not value.isprintable():
        raise Refused(f"the claim {name!r} of your login is not a name; ask the administrator")
    if len(value) > MAX_CHARS:
        raise Refused(f"the claim {name!r} of your login is longer than {MAX_CHARS} characters")
    if name == "email":
        _check_email(claims.get("email_verified"), access)
    return value


def _check_email(verified: Any, access: Access) -> None:
    # Some providers send these as text.
    if verified is True or verified == "true" or (verified is None and access.trust_email):
        return
    if verified is None:
        raise Refused(
            "your provider does not say whether your e-mail address is verified; the administrator can choose "
            "another claim in access.user_claim, or trust the provider's addresses with access.trust_email=true"
        )
    raise Refused("your e-mail address is not verified; verify it at your provider, then log in again")


def _check_age(issued_at: Any, hours: float, now: datetime) -> None:
    if isinstance(issued_at, bool) or not isinstance(issued_at, (int, float)):
        raise Refused("your login does not say when it was made (claim 'iat'); ask the administrator")
    age_s = now.timestamp() - issued_at
    if not -AHEAD_S <= age_s <= hours * S_PER_H:
        raise NotLoggedIn("your login has expired; please log in again")
