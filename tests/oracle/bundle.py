"""A bundle's registered tests, from its raw material and its opened keys."""

import json

import findings
from compare import flat
from keyed import Spec


def check(path, comparisons):
    """Returns the number of findings."""
    document = json.loads(path.read_text())
    plan, opened = document["plan"], {}
    for opening in document["openings"]:
        opened[opening["epoch"], opening["label"]] = bytes.fromhex(opening["key"])
    keys = lambda epoch, mark: [opened[epoch, label] for label in Spec.parse(mark).labels()]
    expected = [findings.of(test, document["material"], keys, plan["shares"]) for test in plan["tests"]]
    judged = findings.judged(plan, expected)
    for test, found, own, verdict in zip(plan["tests"], document["analysis"]["findings"], expected, judged):
        source = f"bundle {test['name']}"
        comparisons.all(source, flat(found), own | verdict, "bundle: ")
        comparisons.none_left(source, flat(found), own | verdict, findings.LABELS)
    return len(expected)
