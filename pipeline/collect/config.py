"""What the gateway can be told: where it listens, who may send, and every bound it keeps."""

from typing import Annotated

import msgspec

from pipeline.runtime.web.hosts import is_loopback

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
    max_connections: Annotated[
        int, Doc(ge=1, description="connections at once, or as many as the limit of open files leaves room for")
    ] = 1000
    head_timeout_seconds: Annotated[
        float, Doc(gt=0, description="from a connection, or a request's first byte, to the end of its head")
    ] = 10.0
    idle_timeout_seconds: Annotated[float, Doc(gt=0, description="to keep a connection between requests")] = 75.0
    read_timeout_seconds: Annotated[float, Doc(gt=0, description="longest time to receive a body")] = 20.0
    min_body_bytes_per_second: Annotated[
        int, Doc(ge=1, description="a body that comes slower is given up, after its first 5 seconds")
    ] = 1024
    sender_share: Annotated[
        float, Doc(gt=0, le=1, description="one token's, of what others leave of max_requests and max_buffered_events")
    ] = 0.5
    sender_lines_per_second: Annotated[
        int, Doc(ge=1, description="lines a token may send in the long run; ten seconds' worth at once")
    ] = 50_000
    sender_deadletters_per_second: Annotated[
        int, Doc(ge=1, description="dead letters kept of a token in the long run, each 4 KiB counting as one")
    ] = 100
    delivery_timeout_seconds: Annotated[
        float, Doc(ge=1, le=300, description="longest time to wait for the broker's acknowledgement")
    ] = 10.0

    @property
    def is_local(self) -> bool:
        """Whether it listens on this machine only."""
        return is_loopback(self.host)

    def __post_init__(self) -> None:
        if not self.tokens_file:
            raise ValueError("tokens_file is not set; `andon token FLEET --tokens-file tokens.toml` makes one")
