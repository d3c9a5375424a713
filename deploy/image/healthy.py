"""Exit code 0 when this container's stage answers 200 on the given path of its metrics port: a probe without curl."""

import http.client
import os
import sys

SECONDS = 4.0

if __name__ == "__main__":
    port = int(os.environ.get("ANDON_METRICS_METRICS_PORT", "0"))
    asked = http.client.HTTPConnection("127.0.0.1", port, timeout=SECONDS)
    try:
        asked.request("GET", sys.argv[1])
        answer = asked.getresponse()
        said = answer.read(4096).decode("utf-8", "replace")
    except (OSError, http.client.HTTPException) as error:
        sys.exit(f"127.0.0.1:{port}{sys.argv[1]}: {error}")
    print(said)
    sys.exit(0 if answer.status == 200 else 1)
