"""One-time sign-in links, for people at the machine that runs the site.

A link's token covers the account's last sign-in, so that signing in by any way uses up every link made before. It also
ends with a changed password or address, and after PASSWORD_RESET_TIMEOUT (three days).
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from django.contrib.auth import get_user_model
from django.contrib.auth.tokens import PasswordResetTokenGenerator
from django.urls import reverse
from django.utils import timezone
from django.utils.http import urlsafe_base64_decode, urlsafe_base64_encode

if TYPE_CHECKING:
    from django.contrib.auth.models import User

MAX_ID = 2**63 - 1


class SignInTokens(PasswordResetTokenGenerator):
    """Tokens that open only sign-in links: with a salt of their own, none of them resets a password."""

    key_salt = "explanations.sign_in_links"

    def _make_hash_value(self, user: User, timestamp: int) -> str:
        # Django drops the microseconds of the last sign-in, for databases that do. Ours keep them, and without them a
        # link made and used within one second of another sign-in would work twice.
        return f"{super()._make_hash_value(user, timestamp)}{user.last_login and user.last_login.timestamp()}"


_tokens = SignInTokens()


def make_link(user: User, base_url: str) -> str:
    """Return the address that signs `user` in once, on the site at `base_url`."""
    uid = urlsafe_base64_encode(str(user.pk).encode())
    return base_url.rstrip("/") + reverse("sign_in_link", args=[uid, _tokens.make_token(user)])


def find_user(uid: str, token: str) -> User | None:
    """Return the active person whom a link signs in; None where it is used up, expired or made up. Changes nothing."""
    try:
        pk = int(urlsafe_base64_decode(uid).decode("ascii"))
    except ValueError:
        return None
    if not 0 < pk <= MAX_ID:
        return None
    user = get_user_model().objects.filter(pk=pk, is_active=True).first()
    return user if user is not None and _tokens.check_token(user, token) else None


def use_up_link(user: User) -> bool:
    """Record a sign-in of a person from `find_user`; return False where another request was first with the link."""
    now = timezone.now()
    unused = get_user_model().objects.filter(pk=user.pk, is_active=True, last_login=user.last_login)
    return unused.update(last_login=now) == 1
