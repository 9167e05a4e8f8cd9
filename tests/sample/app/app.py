"""The sample application: answers with its version."""
import os

from flask import Flask

VERSION = "1"

app = Flask(__name__)


@app.get("/")
def index():
    """What people see."""
    return f"version {VERSION}\n"


if __name__ == "__main__":
    app.run(host="0.0.0.0", port=int(os.environ.get("PORT", "5000")))
