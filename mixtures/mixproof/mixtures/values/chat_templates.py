"""Chat templates that a spec names by a word, and how to distinguish a template from the path of a file with one.

Both are Jinja templates in the form that transformers reads (`tokenizer.chat_template`), with `{% generation %}` marks
around what a model is trained to predict. In `plain`, the blank that separates `Assistant:` from an answer is inside
the mark, because most tokenizers join it with the first word.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final, Literal

TemplateName = Literal["plain", "chatml"]

PLAIN: Final = (
    "{% for message in messages %}{% if message.role == 'assistant' %}"
    "Assistant:{% generation %}{{ ' ' + message.content }}{% if not loop.last %}{{ '\\n\\n' }}{% endif %}"
    "{% endgeneration %}{% else %}{{ message.role | capitalize }}: {{ message.content + '\\n\\n' }}{% endif %}"
    "{% endfor %}{% if add_generation_prompt %}Assistant:{% endif %}"
)
CHATML: Final = (
    "{% for message in messages %}{{ '<|im_start|>' + message.role + '\\n' }}{% if message.role == 'assistant' %}"
    "{% generation %}{{ message.content + '<|im_end|>\\n' }}{% endgeneration %}"
    "{% else %}{{ message.content + '<|im_end|>\\n' }}{% endif %}"
    "{% endfor %}{% if add_generation_prompt %}{{ '<|im_start|>assistant\\n' }}{% endif %}"
)
SHIPPED: Mapping[TemplateName, str] = {"plain": PLAIN, "chatml": CHATML}


def is_inline_template(text: str) -> bool:
    """Whether the value of `template: {jinja: ...}` is a template itself rather than the path of a file."""
    return "{{" in text or "{%" in text
