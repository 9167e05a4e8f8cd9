"""The application's tests."""
from app import VERSION, app


def test_index_answers_with_the_version():
    response = app.test_client().get("/")
    assert response.status_code == 200
    assert response.text == f"version {VERSION}\n"
