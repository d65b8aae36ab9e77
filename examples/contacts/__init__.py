"""An address book whose every change is recorded: a sample Flask application.

`create_app(url)` makes it; `python -m contacts` serves it on a PostgreSQL of its own.
"""

from flask import Flask
from flask_login import LoginManager
from flask_wtf import CSRFProtect

from contacts.models import User, db
from contacts.views import pages


def create_app(url: str, secret_key: str = "only for the demo") -> Flask:
    """Return the application on the database at *url*, with its tables created."""
    app = Flask(__name__)
    app.config.update(SQLALCHEMY_DATABASE_URI=url, SECRET_KEY=secret_key)
    db.init_app(app)
    CSRFProtect(app)
    logins = LoginManager(app)
    logins.login_view = "pages.login"
    logins.user_loader(lambda key: db.session.get(User, int(key)))
    app.register_blueprint(pages)
    with app.app_context():
        db.create_all()
    return app
