"""Templates that would take the memory or the time of a machine end early; others render as in Jinja's sandbox."""

from __future__ import annotations

import jinja2.ext
import pytest
from jinja2.exceptions import SecurityError, UndefinedError
from jinja2.sandbox import ImmutableSandboxedEnvironment

from mixproof.pipeline.chat.bounded_templates import BoundedEnvironment


class Small(BoundedEnvironment):
    """With limits that a test reaches quickly."""

    max_chars = 10_000
    max_work = 10_000


@pytest.mark.parametrize(
    "expression",
    [
        "'a' * 10 ** 9",
        "10 ** 100000",
        "'%1000000000d' % 1",
        "'%*d' % (1000000000, 1)",
        "'{:>1000000000}'.format(1)",
        "'{:{w}}'.format(1, w=1000000000)",
        "'x'.ljust(1000000000)",
        "'x'.zfill(1000000000)",
        "'\t'.expandtabs(1000000000)",
        "text.replace('a', text)",
        "text.join(text)",
        "'x' | center(1000000000)",
        "'x' | indent(1000000000)",
        "'%1000000000s' | format('x')",
        "text | replace('a', text)",
        "text | join(text)",
        "text | wordwrap(1, true, text)",
        "[1] | batch(1000000000, 0) | list",
        "[1] | slice(1000000000) | list",
        "[1] | tojson(indent=1000000000)",
        "['x'] | map('center', 1000000000) | list",
        "'{0:{1}{1}}'.format(1, 99999)",
        "'{0:{1[0]}}'.format(1, [1000000000])",
        "('%s' * 9) % (text, text, text, text, text, text, text, text, text)",
        "('{0}' * 9).format(text)",
        "[text] * 9",
        "[text, text, text]",
        "text ~ text ~ text",
        "text.encode().ljust(1000000000)",
        "(1).to_bytes(1000000000, 'big')",
        "text.translate({97: text})",
        "text | list",
        "text.split()",
        "(text * 2) | urlize",
        "9 ** 9999",
        "('1' * 5000) | int(0, 2)",
    ],
)
def test_what_would_fill_the_memory_is_refused_before_it_is_made(expression: str) -> None:
    environment = Small()
    template = environment.from_string(f"{{{{ ({expression}) | length }}}}")
    with pytest.raises(SecurityError, match="at once"):
        template.render(text="a" * 5000)


@pytest.mark.parametrize(
    "source",
    [
        "{% for a in range(9999) %}{% for b in range(9999) %}{% endfor %}{% endfor %}",
        "{% macro f(n) %}{% if n %}{{ f(n - 1) }}{{ f(n - 1) }}{% endif %}{% endmacro %}{{ f(60) }}",
        "{% for n in [1] recursive %}{{ loop([1, 1]) if loop.depth < 60 }}{% endfor %}",
        "{% set ns = namespace(a='aa') %}{% for n in range(99) %}{% set ns.a = ns.a ~ ns.a %}{% endfor %}",
        "{% set ns = namespace(a=[1]) %}{% for n in range(99) %}{% set ns.a = ns.a + ns.a %}{% endfor %}",
        "{% set ns = namespace(a=[1]) %}{% for n in range(99) %}{% set ns.a = [ns.a, ns.a] %}{% endfor %}{{ ns.a }}",
        "{% set ns = namespace(a=1) %}{% for n in range(99) %}{% set ns.a = {1: ns.a, 2: ns.a} %}{% endfor %}",
        "{% set ns = namespace(a=9) %}{% for n in range(99) %}{% set ns.a = ns.a * ns.a %}{% endfor %}",
        "{% set x %}{% for n in range(999) %}" + "a" * 99 + "{% endfor %}{% endset %}",
        "{% set x %}{% for n in range(999) %}{{ '" + "a" * 99 + "' }}{% endfor %}{% endset %}",
        "{% set a = 'a' * 9000 %}{% for n in range(9999) %}{% if a[1:] == a[1:] %}{% endif %}{% endfor %}",
        "{% set a = 'a' * 9000 %}{% for n in range(9999) %}{{ 'b' in a }}{{ a.find('b') }}{% endfor %}",
        "{% set a = range(2000) | list %}{% for n in range(9999) %}{% set b = a | max %}{% endfor %}",
    ],
)
def test_what_would_never_end_is_refused_after_its_share_of_work(source: str) -> None:
    with pytest.raises(SecurityError):
        Small().from_string(source).render()


def test_what_differs_from_run_to_run_does_not_exist() -> None:
    with pytest.raises(UndefinedError, match="lipsum"):
        BoundedEnvironment().from_string("{{ lipsum() }}").render()
    with pytest.raises(jinja2.TemplateAssertionError, match="random"):
        BoundedEnvironment().from_string("{{ [1, 2] | random }}")


def test_ordinary_templates_render_as_in_jinjas_sandbox() -> None:
    source = """
    {%- macro turn(role) %}<|{{ role | upper }}|>{{ caller() }}{% endmacro %}
    {%- for m in messages if m.content is defined %}
    {%- call turn(m.role) %}{{ loop.index ~ '. ' ~ missing ~ m.content | trim | indent(2) }}{% endcall %}
    {%- if loop.last %}{{ '-' * 3 + '%03d' % 7 }}{{ '{:>5}'.format('x') }}{{ m | tojson(indent=2) }}{% endif %}
    {%- else %}none{% endfor %}{{ messages | map(attribute='role') | join(', ') }}
    {%- set ns = namespace(n=[1, 2], d={'a': 1, 'b': ()}) %}{{ ns.n[1:] + [3] }}{{ ns.d | tojson }}{{ 3 in ns.n }}
    {%- for a, b in [(1, 2), (3, 4)] if a < b %}{{ 7 // a % 5 - b }}{{ 1 < b < 3 }}{% endfor %}
    {{- 'a b'.replace(' ', '_').center(9) }}
    """
    messages = [{"role": "user", "content": " a\nb "}, {"role": "assistant", "content": "c"}]
    options = {"trim_blocks": True, "lstrip_blocks": True, "extensions": [jinja2.ext.loopcontrols]}
    bounded = BoundedEnvironment(**options)
    plain = ImmutableSandboxedEnvironment(**options)
    for given in (messages, []):
        expected = plain.from_string(source).render(messages=given)
        assert bounded.from_string(source).render(messages=given) == expected
