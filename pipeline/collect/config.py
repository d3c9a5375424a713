"""What the gateway can be told: where it listens, who may send, and every bound it keeps."""

from typing import Annotated

import msgspec

Doc = msgspec.Meta


class CollectConfig(msgspec.Struct, frozen=True):
    """Section `collect`. A request costs at most both body bounds in memory, so `max_requests` bounds the whole."""

    tokens_file: Annotated[str, Doc(description="TOML file of tokens; `andon token FLEET` adds one")] = ""
    host: Annotated[str, Doc(min_length=1, description="address to listen on")] = "127.0.0.1"
    port: Annotated[int, Doc(ge=0, le=65535, description="port to listen on; 0 takes a free one and logs it")] = 8080
    listen_fd: Annotated[
        int, Doc(ge=-1, description="listening socket that was handed down, instead of host and port; -1: none")
    ] = -1
    max_body_bytes: Annotated[int, Doc(ge=1024, description="largest body as sent")] = 4 << 20
    max_decompressed_bytes: Annotated[int, Doc(ge=1024, description="largest body once decompressed")] = 8 << 20
    max_buffered_events: Annotated[
        int, Doc(ge=1, description="lines on their way to the broker at once; one request's lines count too")
    ] = 50_000
    max_requests: Annotated[int, Doc(ge=1, description="requests being read or delivered at once")] = 128
    read_timeout_seconds: Annotated[float, Doc(gt=0, description="longest time to receive a body")] = 20.0
    delivery_timeout_seconds: Annotated[
        float, Doc(ge=1, le=300, description="longest time to wait for the broker's acknowledgement")
    ] = 10.0

    def __post_init__(self) -> None:
        if not self.tokens_file:
            raise ValueError("tokens_file is not set; `andon token FLEET --tokens-file tokens.toml` makes one")
