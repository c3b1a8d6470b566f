"""A bundle's registered tests, from its raw material and its opened keys."""

import json

import findings
from compare import flat
from keyed import Spec


def check(path, comparisons):
    """Returns the number of findings."""
    document = json.loads(path.read_text())
    plan, spec = document["plan"], Spec.parse(document["plan"]["spec"])
    keys = {}
    for opening in document["openings"]:
        keys.setdefault(opening["epoch"], []).append(bytes.fromhex(opening["key"]))
    expected = [findings.of(test, document["material"], spec, keys[test["epoch"]]) for test in plan["tests"]]
    judged = findings.judged(plan, expected)
    for test, found, own, verdict in zip(plan["tests"], document["analysis"]["findings"], expected, judged):
        source = f"bundle {test['name']}"
        comparisons.all(source, flat(found), own | verdict, "bundle: ")
        comparisons.none_left(source, flat(found), own | verdict, findings.LABELS)
    return len(expected)
