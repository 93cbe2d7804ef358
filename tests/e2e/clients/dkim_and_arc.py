"""dkimpy: signs or verifies the message on standard input, as the JSON in the first argument says; answers JSON."""
import json
import sys

import dkim

how = json.loads(sys.argv[1])
message = sys.stdin.buffer.read()
records = {name.encode(): text.encode() for name, text in how.get("records", {}).items()}


def txt(name, timeout=5):
    return records.get(name.rstrip(b"."))


def option(name):
    return how[name].encode()


def say(value):
    print(json.dumps(value))


if how["do"] == "verify":
    verifier = dkim.DKIM(message)
    count = len([1 for name, _ in verifier.headers if name.lower() == b"dkim-signature"])
    say([bool(verifier.verify(idx=index, dnsfunc=txt)) for index in range(count)])
elif how["do"] == "sign":
    header, body = how["canonicalization"].split("/")
    say(dkim.sign(
        message, option("selector"), option("domain"), option("key"),
        canonicalize=(header.encode(), body.encode()), signature_algorithm=option("algorithm"),
    ).decode())
elif how["do"] == "arc-verify":
    state, results, reason = dkim.arc_verify(message, dnsfunc=txt)
    say({"state": state.decode(), "reason": reason, "sets": len(results)})
elif how["do"] == "arc-seal":
    # The chain it is to say `cv=pass` of has to stand in Authentication-Results of its own name.
    lines = dkim.arc_sign(
        message, option("selector"), option("domain"), option("key"), option("name"),
        signature_algorithm=option("algorithm"),
    )
    say(b"".join(lines).decode())
