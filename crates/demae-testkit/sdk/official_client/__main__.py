"""Takes every resource of Kaiten's official client through its whole life, with both of its clients.

    python official_client BASE_URL TOKEN [sync|async]

Ends with 0 when the server answered everything as the client and its documentation promise their users;
a failed assertion says what it did instead. Things are named after a random word, so that the program can
be run again, and against a database that is in use.

At the end, the methods that were called and answered, together with those that docs/kaiten-compatibility.md
says Demae does not have, must be all that the client has: a client that grows fails here until it is driven.
"""

import asyncio
import sys
import uuid

import absent
import accounts
import customers
import deployments
import entitlements
import flags
import instances
import integrations
import licenses
import reports
from clients import CLIENTS, Client

PARTS = [customers, integrations, accounts, entitlements, licenses, deployments, instances, reports, flags, absent]


async def main(base_url, token, *kinds):
    for kind in kinds or CLIENTS:
        word = f"{kind}-{uuid.uuid4().hex[:12]}"
        async with Client(kind, base_url, token) as client:
            for part in PARTS:
                await part.drive(client, word)
        await absent.from_another_listener(kind, base_url)
        accounts_for_all(client)
        print(f"{kind}: {len(client.driven)} methods")


def accounts_for_all(client):
    offered, absent_here = client.offered(), set(absent.METHODS)
    both = client.driven & absent_here
    assert not both, f"these work and are said not to: {sorted(both)}"
    known = client.driven | absent_here
    assert known == offered, f"not driven: {sorted(offered - known)}, not there: {sorted(known - offered)}"


if __name__ == "__main__":
    asyncio.run(main(*sys.argv[1:]))
