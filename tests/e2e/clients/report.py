"""Reads a report (RFC 3464) on standard input as a mail program would, and says in JSON what is in it."""

import email
import email.policy
import json
import sys

message = email.message_from_binary_file(sys.stdin.buffer, policy=email.policy.default)
parts = list(message.iter_parts())


def fields(block):
    return {name.lower(): str(value) for name, value in block.items()}


status = parts[1].get_payload()
print(json.dumps({
    "type": message.get_content_type(),
    "reportType": message.get_param("report-type"),
    "defects": [str(defect) for part in message.walk() for defect in part.defects],
    "header": fields(message),
    "parts": [part.get_content_type() for part in parts],
    "text": parts[0].get_content(),
    "message": fields(status[0]),
    "recipients": [fields(block) for block in status[1:]],
    "returned": parts[2].get_payload(0).as_string() if parts[2].is_multipart() else parts[2].get_content(),
}))
