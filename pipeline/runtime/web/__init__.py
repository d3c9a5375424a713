"""What the HTTP servers of the stages share: connections within bounds, the socket, and for whom a request is meant."""
