"""Sends one message with smtplib, as told by a JSON object on standard input; prints what came of it as JSON."""
import base64
import email
import email.policy
import json
import smtplib
import ssl
import sys

job = json.load(sys.stdin)
door = job["door"]
context = ssl.create_default_context(cafile=job.get("ca"))


def connect():
    if door == "implicit":
        return smtplib.SMTP_SSL("127.0.0.1", job["port"], local_hostname="client.test", context=context)
    if door == "lmtp":
        return smtplib.LMTP(job["socket"], local_hostname="client.test")
    client = smtplib.SMTP("127.0.0.1", job["port"], local_hostname="client.test")
    if job.get("starttls"):
        client.starttls(context=context)
    return client


def login(client):
    client.user, client.password = job["user"], job["password"]
    client.ehlo_or_helo_if_needed()
    method = {"PLAIN": client.auth_plain, "LOGIN": client.auth_login}[job["mechanism"]]
    return client.auth(job["mechanism"], method, initial_response_ok=job["mechanism"] == "PLAIN")


def attempts():
    """The replies to wrong passwords, until the server has enough."""
    codes = []
    with connect() as client:
        while True:
            try:
                login(client)
            except smtplib.SMTPAuthenticationError as error:
                codes.append([error.smtp_code, error.smtp_error.decode()])
                if error.smtp_code == 421:
                    break
            except smtplib.SMTPServerDisconnected:
                codes.append([0, "closed"])
                break
    return codes


def send():
    content = base64.b64decode(job["content"])
    with connect() as client:
        if "user" in job:
            login(client)
        if job.get("utf8"):
            message = email.message_from_bytes(content, policy=email.policy.SMTPUTF8)
            refused = client.send_message(message, job["sender"], job["recipients"])
        else:
            refused = client.sendmail(job["sender"], job["recipients"], content)
    return {who: [code, text.decode()] for who, (code, text) in refused.items()}


try:
    print(json.dumps({"attempts": attempts()} if job.get("attempts") else {"refused": send()}))
except smtplib.SMTPResponseException as error:
    print(json.dumps({"code": error.smtp_code, "text": error.smtp_error.decode()}))
