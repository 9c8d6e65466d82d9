"""The smallest application that tells which edition of it answers."""


def app(_environ, start_response):
    start_response("200 OK", [("Content-Type", "text/plain")])
    return [b"edition one"]
