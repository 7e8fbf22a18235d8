"""Fetches archives, several at once: `python -c ... LIST FOLDER`, and runs none of them.

LIST has an address a line. What is at the line with a number goes to the file with that number in FOLDER. Tells of it in
lines on stderr: `begun NUMBER BYTES`, `had NUMBER BYTES`, `done NUMBER`, `failed NUMBER REASON`.
"""
import concurrent.futures
import http.client
import time
import urllib.error

ATTEMPTS = 3
PART_BYTES = 1 << 20
TOLD_BYTES = 4 << 20


def tell(*words):
    # One write for each line, from whatever thread.
    sys.stderr.write(" ".join(map(str, words)).replace("\n", " ") + "\n")


def fetch_once(number, address, path):
    with ask(address) as response, open(path, "wb") as file:
        length = int(response.headers.get("Content-Length") or 0)
        tell("begun", number, length)
        had = told = 0
        while part := response.read(PART_BYTES):
            file.write(part)
            had += len(part)
            if had - told >= TOLD_BYTES:
                told = had
                tell("had", number, had)
    if length and had != length:
        raise OSError(f"the connection ended after {had} of {length} bytes")
    tell("done", number)


def is_for_good(error):
    return isinstance(error, urllib.error.HTTPError) and error.code < 500 and error.code not in (408, 429)


def fetch(number, address, path):
    for attempt in range(1, ATTEMPTS + 1):
        try:
            fetch_once(number, address, path)
            return True
        except (OSError, http.client.HTTPException, ValueError) as error:
            if attempt == ATTEMPTS or is_for_good(error):
                tell("failed", number, error)
                return False
            time.sleep(attempt)


def main():
    with open(sys.argv[1]) as file:
        addresses = file.read().splitlines()
    os.makedirs(sys.argv[2], exist_ok=True)
    at_once = int(os.environ.get("UV_CONCURRENT_DOWNLOADS") or 16)
    with concurrent.futures.ThreadPoolExecutor(max(1, at_once)) as pool:
        paths = (f"{sys.argv[2]}/{number}" for number in range(len(addresses)))
        fetched = list(pool.map(fetch, range(len(addresses)), addresses, paths))
    sys.exit(0 if all(fetched) else 1)


main()
