"""Asking for archives as uv does: with what the indexes of the same hosts are told."""
import base64
import os
import ssl
import sys
import urllib.parse
import urllib.request

PATIENCE_SECONDS = 60


# Addresses of the indexes, with their credentials: lines of stdin, where nothing else sees them.
INDEXES = [urllib.parse.urlsplit(index) for index in sys.stdin.read().split()]


def authorization(address):
    """What the index of the same host is told."""
    wanted = urllib.parse.urlsplit(address)
    for known in INDEXES:
        is_same = (known.scheme, known.hostname, known.port) == (wanted.scheme, wanted.hostname, wanted.port)
        if known.username and is_same:
            user = urllib.parse.unquote(known.username)
            password = urllib.parse.unquote(known.password or "")
            return "Basic " + base64.b64encode(f"{user}:{password}".encode()).decode()
    return None


def is_trusted(address):
    """Whether a host is to be taken for what it says it is."""
    wanted = urllib.parse.urlsplit(address)
    trusted = os.environ.get("UV_INSECURE_HOST", "").replace(",", " ").split()
    return wanted.hostname in trusted or wanted.netloc.rpartition("@")[2] in trusted


def ask(address):
    """The response to a request for what is at an address."""
    # Parts of an address that uv leaves as an index has them.
    request = urllib.request.Request(urllib.parse.quote(address, safe=":/?#[]@!$&'()*+,;=%~"))
    credentials = authorization(address)
    if credentials:
        # Not for whoever the index may send it on to.
        request.add_unredirected_header("Authorization", credentials)
    context = ssl._create_unverified_context() if is_trusted(address) else None
    return urllib.request.urlopen(request, timeout=PATIENCE_SECONDS, context=context)


