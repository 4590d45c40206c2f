"""Run inside a gateway's environment: execute the Python that arrives, one JSON object a line.

    {"code": "…"}  ->  {"result": …} or {"error": "traceback"}

The code's last statement, when it is an expression, is the result; it has to be JSON or a string of itself.
"""

import ast
import json
import os
import sys
import traceback
from typing import Any


def run(code: str, names: dict[str, Any]) -> Any:
    tree = ast.parse(code)
    last = tree.body.pop() if tree.body and isinstance(tree.body[-1], ast.Expr) else None
    exec(compile(tree, "<test>", "exec"), names)
    if not isinstance(last, ast.Expr):
        return None
    return eval(compile(ast.Expression(last.value), "<test>", "eval"), names)


def main() -> None:
    import django

    os.environ.setdefault("DJANGO_SETTINGS_MODULE", "gateway_site.settings")
    # Answers have a channel of their own: what a command prints must not look like one.
    answers = os.fdopen(os.dup(1), "w", buffering=1)
    os.dup2(2, 1)
    django.setup()
    answers.write(json.dumps({"result": "ready"}) + "\n")
    for line in sys.stdin:
        names: dict[str, Any] = {}
        try:
            answer = {"result": run(json.loads(line)["code"], names)}
        except Exception:
            answer = {"error": traceback.format_exc()}
        answers.write(json.dumps(answer, default=str) + "\n")


if __name__ == "__main__":
    main()
