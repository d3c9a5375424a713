"""The HTTP gateway: endpoints' events in, checked line by line, acknowledged once the broker has them."""
