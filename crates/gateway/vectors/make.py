"""Writes twilio.json and vonage.json with the signatures that the providers' libraries make. See README.md."""

import hashlib
import json
from pathlib import Path
from urllib.parse import urlencode

from twilio.request_validator import RequestValidator
from vonage_http_client.auth import Auth

HERE = Path(__file__).parent
URL = "https://klaroen.example.nl/v1/gateways/g/token-0123456789-abcdef/receipts?d=000000000000002a"
NOW = 1_795_435_200


class Fields(dict):
    """A dictionary with lists, as web frameworks have them: the library reads repeated fields through `getlist`."""

    def getlist(self, name):
        return self[name]


def twilio():
    token = "0123456789abcdef0123456789abcdef"
    forms = {
        "no fields": [],
        "one field": [("MessageSid", "SM1")],
        "a receipt": [("MessageSid", "SM1"), ("MessageStatus", "delivered"), ("To", "+31612345678"), ("ErrorCode", "")],
        "unsorted": [("To", "+31612345678"), ("Body", "a & b = c + d"), ("From", "1000"), ("AccountSid", "AC1")],
        "not ASCII": [("Body", "gezien \u00e9\u20ac\U0001f697"), ("From", "+31612345678")],
        "repeated": [("MediaUrl", "b"), ("MediaUrl", "a"), ("MediaUrl", "b"), ("Body", "x")],
        "case of names": [("b", "1"), ("B", "2"), ("a", "3")],
        "line ends": [("Body", "one\r\ntwo\tthree")],
    }
    urls = {
        "plain": URL,
        "with port": URL.replace(".nl/", ".nl:443/"),
        "other port": URL.replace(".nl/", ".nl:8443/"),
        "http": URL.replace("https:", "http:"),
        "no query": URL.split("?")[0],
        "encoded query": URL + "&x=%C3%A9%20+%26",
    }
    cases = []
    for algorithm in ("HMAC_SHA1", "HMAC_SHA256"):
        validator = RequestValidator(token)
        for url_name, url in urls.items():
            for form_name, pairs in forms.items():
                fields = Fields()
                for name, value in pairs:
                    fields.setdefault(name, []).append(value)
                signature = validator.compute_signature(url, fields, algorithm)
                assert validator.validate(url, fields, signature, algorithm)
                cases.append({
                    "name": f"{algorithm}, {url_name}, {form_name}", "key": token, "algorithm": algorithm, "url": url,
                    "content_type": "application/x-www-form-urlencoded", "body": urlencode(pairs), "signature": signature,
                })
        for body in ('{"MessageSid":"SM1"}', '{"a":"\u00e9"}'):
            url = URL + "&bodySHA256=" + validator.compute_hash(body)
            signature = validator.compute_signature(url, {}, algorithm)
            assert validator.validate(url, body, signature, algorithm)
            cases.append({
                "name": f"{algorithm}, JSON", "key": token, "algorithm": algorithm, "url": url,
                "content_type": "application/json", "body": body, "signature": signature,
            })
    return cases


def vonage():
    secret = "YkQ5mBz0Dx7sVhW2canary"
    forms = {
        "a receipt": {"messageId": "0A1", "msisdn": "31612345678", "status": "delivered", "err-code": "0"},
        "a reply": {"messageId": "0B1", "msisdn": "31612345678", "to": "1000", "text": "gezien", "nonce": "aaaa-bbbb"},
        "separators in values": {"messageId": "0C1", "text": "a&b=c&&==", "client-ref": "x=y"},
        "not ASCII": {"messageId": "0D1", "text": "gezien \u00e9\u20ac\U0001f697"},
        "empty value": {"messageId": "0E1", "text": ""},
        "order of names": {"b": "1", "B": "2", "a-b": "3", "a": "4", "a_b": "5", "messageId": "0F1"},
    }
    cases = []
    for method in ("md5hash", "md5", "sha1", "sha256", "sha512"):
        for name, form in forms.items():
            fields = {**form, "timestamp": str(NOW)}
            if method == "md5hash":
                text = "".join(f"&{k}={v.replace('&', '_').replace('=', '_')}" for k, v in sorted(fields.items()))
                signature = hashlib.md5((text + secret).encode()).hexdigest()
            else:
                auth = Auth(api_key="abcd1234", signature_secret=secret, signature_method=method)
                signature = auth.sign_params(dict(fields))
                assert auth.check_signature({**fields, "sig": signature})
            cases.append({
                "name": f"{method}, {name}", "key": secret, "method": method, "now": NOW,
                "body": urlencode({**fields, "sig": signature}),
            })
    return cases


for name, cases in (("twilio", twilio()), ("vonage", vonage())):
    (HERE / f"{name}.json").write_text(json.dumps(cases, indent=1) + "\n")
