"""Templates of evaluation tasks render as before and cannot leave their sandbox."""

from __future__ import annotations

import pytest
from jinja2.exceptions import SecurityError
from lm_eval import utils

from mixproof.train.evaluate.external.template_sandbox import sandboxed_templates

DOCUMENT = {"question": "2 + 2?", "choices": ["3", "4"], "answer": 1}


@pytest.mark.parametrize(
    ("template", "expected"),
    [
        ("Q: {{question}}\nA:\n", "Q: 2 + 2?\nA:\n"),
        ("{{choices[answer] | trim}}{{'-' * 3}}{{2 ** 10}}", "4---1024"),
        ("{{question | regex_replace('2', 'two')}}", "two + two?"),
        ("{% for choice in choices %}{{loop.index}}. {{choice}} {% endfor %}", "1. 3 2. 4 "),
    ],
)
def test_ordinary_templates_render_as_the_harness_does(template: str, expected: str) -> None:
    assert utils.apply_template(template, DOCUMENT) == expected
    with sandboxed_templates():
        assert utils.apply_template(template, DOCUMENT) == expected


@pytest.mark.parametrize(
    "template",
    [
        "{{ question.__class__.__mro__[1].__subclasses__() }}",
        "{{ cycler.__init__.__globals__.os.environ }}",
        "{{ choices.append('5') }}",
        "{{ 'x' * 100000000 }}",
        "{{ 100000000 * question }}",
        "{{ 9 ** 99999999 }}",
        "{{ [0] * 100000000 }}",
    ],
)
def test_templates_cannot_reach_python_or_fill_the_memory(template: str) -> None:
    with sandboxed_templates(), pytest.raises(SecurityError):
        utils.apply_template(template, DOCUMENT)
    with sandboxed_templates(), pytest.raises(OverflowError, match="Range too big"):
        utils.apply_template("{% for n in range(1000000) %}{% endfor %}", DOCUMENT)
