"""Leads the requests that schemathesis makes into the demo project of a server, and most of them to what is there.

Before the first request it fills the project: customers with an identity each, an import, a purge and a dispatch.
"""

import json
import os
import urllib.error
import urllib.request
import zlib

import schemathesis

with open(os.environ["ROSTER_READY_FILE"], encoding="utf-8") as file:
    READY = json.load(file)

USERS = "/directory-sync/internal/volt/project-users/"
RUNTIME = "/volt-engine/internal/volt/project-users/"
SCOPE = {name: READY[name] for name in ("account_id", "org_id", "project_id")}
CUSTOMERS = 400


def ask(path, **members):
    """The answer to a request that makes something; nothing where it is refused."""
    request = urllib.request.Request(
        READY["url"] + path,
        data=json.dumps(SCOPE | members).encode(),
        headers={"Authorization": "Bearer " + READY["api_key"], "Content-Type": "application/json"},
    )
    try:
        with urllib.request.urlopen(request, timeout=60) as answer:
            return json.load(answer)
    except urllib.error.HTTPError:
        return {}


def fill():
    """Makes what requests are about, and answers the ids of jobs."""
    items = [
        {"customer_user_id": f"st-{number}", "profile": {"email": f"st{number}@example.org"}}
        for number in range(CUSTOMERS)
    ]
    ask(USERS + "users/upsert-bulk", items=items)
    for number in range(CUSTOMERS):
        ask(
            USERS + "users/attach-channel-grant",
            customer_user_id=f"st-{number}",
            channel="line",
            external_user_id=f"U-{number}",
            agents=["Sales"],
        )
    csv = "customer_user_id,email\nst-file,file@example.org\nst-bad,nothing\n"
    imported = ask(USERS + "users/import-csv", csv=csv)
    purged = ask(USERS + "users/delete-bulk", customer_user_ids=["st-file", "nobody"])
    ask(USERS + "users/delete", customer_user_id="st-1", suppress=True)
    ask(RUNTIME + "identities/resolve", channel="line", external_user_id="stranger")
    ask(
        RUNTIME + "dispatches",
        channel="line",
        external_user_id="U-2",
        run_id="run-1",
        agent_alias="Sales",
        endpoint="orders.list",
    )
    return {"import_id": imported.get("import_id"), "purge_id": purged.get("purge_id")}


JOBS = fill()


def known(dice):
    """Members as somebody would write them who knows the project."""
    number = dice % CUSTOMERS
    return {name: text for name, text in JOBS.items() if text} | {
        "customer_user_id": f"st-{number}",
        "customer_user_ids": [f"st-{number}", f"st-{(number + 7) % CUSTOMERS}", "nobody"],
        "channel": "line",
        "external_user_id": f"U-{number}",
        "agents": ["Sales"],
        "profile": {"full_name": f"Somebody {dice % 17}", "score": dice % 5, "email": None},
        "expected_version": None,
        "fields": None,
        "filters": None,
        "csv": f"customer_user_id,email\nst-{number},st{number}@example.org\nst-new-{dice % 50},\n",
        "csv_text": None,
        "delimiter": None,
        "cursor": None,
        "mapping": {"customer_user_id": "customer_user_id"},
        "invoker_fields": {"user": "customer_user_id"},
        "as_of": None,
        "page_size": 1 + dice % 50,
        "page": 1 + dice % 3,
    }


@schemathesis.hook
def map_body(context, body):
    """Most bodies name the demo project, and of these most have some members as they should be."""
    if not isinstance(body, dict):
        return body
    dice = zlib.crc32(json.dumps(body, sort_keys=True, default=str).encode())
    if dice % 8:
        body.update({name: text for name, text in SCOPE.items() if name in body})
    for name, value in known(dice).items():
        if name in body and (dice >> (len(name) % 16)) % 6:
            if value is None:
                del body[name]
            else:
                body[name] = value
    return body


@schemathesis.hook
def map_headers(context, headers):
    """A tenant or a position that is made up is refused, so most requests have none."""
    dice = zlib.crc32(json.dumps(headers or {}, sort_keys=True, default=str).encode())
    for name in [*(headers or {})]:
        if name.lower().startswith(("x-tenant", "roster-min", "idempotency")) and dice % 8:
            del headers[name]
    return headers
