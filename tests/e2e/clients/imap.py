"""Reads the INBOX of each user with imaplib; prints a JSON object of lists of base64 texts."""
import base64
import imaplib
import json
import sys

port, users = int(sys.argv[1]), sys.argv[2:]
inboxes = {}
for user in users:
    with imaplib.IMAP4("127.0.0.1", port) as client:
        client.login(user, "any")
        client.select("INBOX")
        bodies = inboxes[user] = []
        for uid in client.uid("SEARCH", "ALL")[1][0].split():
            status, data = client.uid("FETCH", uid, "(BODY.PEEK[])")
            bodies.append(base64.b64encode(data[0][1]).decode())
print(json.dumps(inboxes))
