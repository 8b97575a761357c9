"""A server of trained models over HTTP and WebSocket, with a page to try them."""
