"""The templates of a neuron's sections: Jinja2's, beside Django's."""

from __future__ import annotations

import html
from datetime import UTC, datetime

import pytest
from django.template import engines
from django.test import override_settings
from django.utils.safestring import SafeString, mark_safe

from explanations.escaping import escape
from explanations.templatetags.neurons import day, time_of

HOSTILE = "<script>alert('x')</script> & \"quoted\""


def rendered(source: str, **context: object) -> str:
    return str(engines["jinja2"].from_string(source).render(context))


def in_django(source: str, **context: object) -> SafeString:
    return engines["django"].from_string("{% load neurons %}" + source).render(context)


def test_what_comes_from_outside_is_escaped_once() -> None:
    assert "<" not in rendered("{{ text }}", text=HOSTILE)
    assert "<" not in rendered("{{ text|truncatechars(200) }}{{ text|capfirst }}", text=HOSTILE)
    assert rendered("{{ text }}", text=mark_safe("<b>")) == "<b>"
    assert rendered("{{ score_bar(0.5) }}").startswith('<span class="score">')


def test_a_function_is_called_with_what_the_template_says() -> None:
    def told(*given: object, **named: object) -> str:
        return f"{given} {named}"

    assert rendered(
        "{{ told() }}{{ told(1, a='<') }}{{ told(*rest, **more) }}", told=told, rest=[2], more={"b": 3}
    ) == ("() {}(1,) {&#39;a&#39;: &#39;&lt;&#39;}(2,) {&#39;b&#39;: 3}")
    assert rendered("{% for one in (1, 2) %}{{ told(one) }}{% endfor %}", told=str) == "12"
    assert rendered("{% macro m(a, b=2) %}{{ a }}-{{ b }}{% endmacro %}{{ m('<') }} {{ m(1, b=3) }}") == "&lt;-2 1-3"


@pytest.mark.parametrize("text", ["", "plain", HOSTILE, "\0’\ud800<", SafeString("<b>")])
def test_text_is_escaped_as_pythons_own_module_does(text: str) -> None:
    assert html.unescape(escape(text)) == html.unescape(html.escape(text))
    assert not set("<>\"'") & set(escape(text))


def test_what_is_not_there_is_empty() -> None:
    assert rendered("[{{ nothing.of.this }}{% if nothing.of.this %}!{% endif %}]") == "[]"
    assert rendered("[{{ none_there.of.this }}]", none_there=None) == "[]"


def test_every_template_compiles() -> None:
    env = engines["jinja2"].env  # type: ignore[attr-defined]

    names = env.list_templates()

    assert "explanations/_neuron_head.html" in names
    for name in names:
        env.get_template(name)


def test_a_template_of_django_includes_one_that_knows_the_same_and_more() -> None:
    page = in_django(
        '{% section "explanations/_neuron_legend.html" maximum=most %}'
        '{% section "explanations/_neuron_problems.html" %}',
        most="7",
        state={"problems": [HOSTILE]},
    )

    assert "tenths of the maximum, 7:" in page
    assert "&lt;script&gt;" in page
    assert "<script>" not in page


@pytest.mark.parametrize(("zone", "said"), [("UTC", "27 November 2026"), ("Asia/Tokyo", "28 November 2026")])
def test_times_are_those_of_the_site(zone: str, said: str) -> None:
    late = datetime(2026, 11, 27, 20, 30, tzinfo=UTC)

    with override_settings(TIME_ZONE=zone):
        assert day(late) == in_django('{{ late|date:"j F Y" }}', late=late) == said
        assert day(late, "j M Y") == said.replace("November", "Nov")
        assert time_of(late) == in_django(
            """<time datetime="{{ late|date:'c' }}">{{ late|date:"j F Y" }}</time>""", late=late
        )


def test_an_included_template_is_a_part_of_the_one_that_includes_it() -> None:
    inner, outer = "explanations/_neuron_problems.html", "explanations/_neuron_content.html"
    env = engines["jinja2"].env  # type: ignore[attr-defined]
    source, *_ = env.loader.get_source(env, outer)

    joined = env.preprocess(source, outer)

    assert f'include "{inner}"' in source
    assert "include" not in joined
    assert env.loader.get_source(env, inner)[0].strip() in joined
