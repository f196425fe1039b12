"""Forms of signing in."""

from __future__ import annotations

from django.contrib.auth.forms import AuthenticationForm


class SignInForm(AuthenticationForm):
    """A name and its password."""

    error_messages = {
        "invalid_login": "No account has this name and password. Mind capitals: both are case-sensitive.",
        "inactive": "This account is switched off.",
    }
