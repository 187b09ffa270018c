"""Names people could type, and what they would do where they are not escaped."""

from __future__ import annotations

from typing import Any

from .trainings import BEGAN, FIRST, S, attempt, training

MARKUP = '"><img src=x onerror="document.title=\'owned\'"><script>document.title="owned"</script>'
NAMES = {
    "markup": MARKUP,
    "script end": '</script><script>document.title="owned"</script>',
    "template": "{{ 7 * 7 }}{% for x in y %}${7*7}",
    "path": "../../../etc/passwd%2e%2e%2f\\..\\",
    "link": "javascript:document.title='owned'",
    "formula": '=HYPERLINK("http://example.com","x")',
    "quotes": 'it\'s "quoted" & <b>bold</b> `ticks`',
    "unicode": "名前\u202eevil\u2028\u0000end",
}


def hostile_training(name: str, **overrides: Any) -> Any:
    """A training that has the name wherever a name can be."""
    began = overrides.get("began_at", BEGAN)
    only = attempt(
        1,
        began,
        (S.STARTING, 5),
        (S.TRAINING, 20),
        job_name=name,
        instance_type=name,
        reason=f"{FIRST} {name}",
        message=name,
    )
    facts: dict[str, Any] = {
        "run_id": name,
        "task_id": name,
        "model": name,
        "team": name,
        "reason": name,
        "tags": {"team": name, name: name},
        "instance_type": name,
        "attempts": (only,),
        "prices": (),
        "decisions": tuple(
            type(decision)(
                decided_at=decision.decided_at,
                action=name if decision.attempt is None else decision.action,
                reason=name,
                attempt=decision.attempt,
            )
            for decision in training().decisions
        ),
    }
    return training(**{**facts, **overrides})
