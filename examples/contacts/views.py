"""The pages: the people, what became of them, and who changed what lately."""

from typing import Any

from flask import Blueprint, abort, flash, redirect, render_template, request, url_for
from flask_login import current_user, login_required, login_user, logout_user
from sqlalchemy import func, select, text, update
from werkzeug.security import check_password_hash
from werkzeug.wrappers import Response

from chrononaut_pg import rationale
from contacts.forms import ContactForm, DomainForm, LoginForm, NoteForm
from contacts.models import Company, Contact, Note, User, db

pages = Blueprint("pages", __name__)

RECENT = text(
    "select c.changed, c.relation, c.operation, c.key, c.change_info,"
    " t.db_user, t.application_name"
    " from chrononaut.recent_changes c"
    " join chrononaut.transaction t on t.id = c.transaction_id"
    " order by c.change_id desc limit 50"
)

VERBS = {"I": "added", "U": "changed", "D": "deleted", "T": "truncated"}


@pages.app_template_filter()
def who(info: dict[str, Any]) -> str:
    """Return who is named by change info, for people to read."""
    if info.get("user_id"):
        return str(info["user_id"])
    names = (info.get("db_user"), info.get("application_name"))
    return " through ".join(name for name in names if name) or "nobody known"


@pages.app_template_filter()
def why(info: dict[str, Any]) -> str:
    """Return the reason in change info, empty if none was given."""
    return str(info.get("extra", {}).get("rationale", ""))


@pages.route("/")
def index() -> str:
    """List everybody by company."""
    companies = db.session.scalars(select(Company).order_by(Company.name))
    return render_template("index.html", companies=companies.all())


@pages.route("/login", methods=["GET", "POST"])
def login() -> str | Response:
    """Ask for address and password."""
    form = LoginForm()
    if form.validate_on_submit():
        user = db.session.scalar(select(User).where(User.email == form.email.data))
        if user and check_password_hash(user.password_hash, form.password.data):
            login_user(user)
            return redirect(url_for("pages.index"))
        flash("No user has this email and password.")
    return render_template("form.html", form=form, title="Log in")


@pages.post("/logout")
def logout() -> Response:
    """Log out."""
    logout_user()
    return redirect(url_for("pages.index"))


@pages.route("/contacts/<int:key>", methods=["GET", "POST"])
def contact(key: int) -> str | Response:
    """Show one contact; take a note."""
    found = db.get_or_404(Contact, key)
    form = NoteForm()
    if current_user.is_authenticated and form.validate_on_submit():
        with rationale("took a note"):
            db.session.add(Note(contact_id=key, text=form.text.data))
            db.session.commit()
        return redirect(url_for("pages.contact", key=key))
    return render_template("contact.html", contact=found, form=form)


@pages.route("/contacts/<int:key>/edit", methods=["GET", "POST"])
@login_required  # type: ignore[untyped-decorator]
def edit(key: int) -> str | Response:
    """Change a contact, with a reason."""
    found = db.get_or_404(Contact, key)
    form = ContactForm(obj=found)
    companies = db.session.scalars(select(Company).order_by(Company.name))
    form.company_id.choices = [(one.id, one.name) for one in companies]
    if form.validate_on_submit():
        with rationale(form.rationale.data):
            for name in ("name", "email", "phone", "position", "company_id"):
                setattr(found, name, form[name].data)
            db.session.commit()
        return redirect(url_for("pages.history", key=key))
    return render_template("form.html", form=form, title=f"Edit {found.name}")


@pages.route("/companies/<int:key>/domain", methods=["GET", "POST"])
@login_required  # type: ignore[untyped-decorator]
def domain(key: int) -> str | Response:
    """Give everybody in a company a new mail domain, in one UPDATE."""
    company = db.get_or_404(Company, key)
    form = DomainForm()
    if form.validate_on_submit():
        new = form.domain.data
        email = func.replace(Contact.email, f"@{company.domain}", f"@{new}")
        everybody = update(Contact).where(Contact.company_id == key)
        with rationale(form.rationale.data):
            db.session.execute(everybody.values(email=email))
            company.domain = new
            db.session.commit()
        return redirect(url_for("pages.index"))
    return render_template("form.html", form=form, title=f"Move {company.name}")


@pages.route("/contacts/<int:key>/history")
def history(key: int) -> str:
    """Show what became of a contact: who changed what, when and why."""
    found = db.get_or_404(Contact, key)
    changes = list(found.changes())
    return render_template(
        "history.html", contact=found, changes=changes[::-1], verbs=VERBS
    )


@pages.route("/contacts/<int:key>/diff")
def diff(key: int) -> str:
    """Compare a version with a later one, or with now if none is asked for."""
    found = db.get_or_404(Contact, key)
    versions = {one.version: one for one in found.versions()}
    first = versions.get(request.args.get("from", type=int, default=0))
    last = request.args.get("to", type=int)
    if first is None or (last is not None and not first.version < last):
        abort(404)
    found_values = found.diff(first, to=versions.get(last) if last else None)
    return render_template(
        "diff.html", contact=found, first=first, last=last, values=found_values
    )


@pages.route("/changes")
def changes() -> str:
    """Show the newest changes of all tables, whoever made them."""
    rows = db.session.execute(RECENT).all()
    return render_template("changes.html", changes=rows, verbs=VERBS)
