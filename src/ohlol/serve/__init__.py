"""Trained models over HTTP and WebSocket, with a page; knows nothing of flags."""
