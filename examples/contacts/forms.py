"""The forms. Whoever changes something says why."""

from flask_wtf import FlaskForm
from wtforms import EmailField, PasswordField, SelectField, StringField, TextAreaField
from wtforms.validators import DataRequired, Email, Length


class LoginForm(FlaskForm):  # type: ignore[misc]
    """Address and password."""

    email = EmailField("Email", [DataRequired()])
    password = PasswordField("Password", [DataRequired()])


class ContactForm(FlaskForm):  # type: ignore[misc]
    """The details of a contact."""

    name = StringField("Name", [DataRequired(), Length(max=80)])
    email = EmailField("Email", [DataRequired(), Email()])
    phone = StringField("Phone", [Length(max=30)])
    position = StringField("Position", [Length(max=80)])
    company_id = SelectField("Company", coerce=int)
    rationale = StringField("Why this change?", [DataRequired(), Length(max=200)])


class DomainForm(FlaskForm):  # type: ignore[misc]
    """A new mail domain for everybody in a company."""

    domain = StringField("New mail domain", [DataRequired(), Length(max=80)])
    rationale = StringField("Why this change?", [DataRequired(), Length(max=200)])


class NoteForm(FlaskForm):  # type: ignore[misc]
    """A note about a contact."""

    text = TextAreaField("Note", [DataRequired(), Length(max=2000)])
