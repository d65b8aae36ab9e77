"""What the address book holds at first."""

from werkzeug.security import generate_password_hash

from chrononaut_pg import change_info
from contacts.models import Company, Contact, Note, User, db

PASSWORD = "demo"

USERS = [("Anna Berg", "anna@agency.example"), ("Ben Okafor", "ben@agency.example")]

COMPANIES = {
    ("Harbour Coffee Roasters", "Bremen", "harbour-coffee.example"): [
        ("Marta Lindqvist", "Head of buying", "+49 421 555 0101"),
        ("Jonas Petersen", "Warehouse manager", "+49 421 555 0102"),
        ("Sofia Marino", "Accounts", "+49 421 555 0103"),
    ],
    ("Northfield Cycles", "Leeds", "northfield.example"): [
        ("Graham Whitlock", "Owner", "+44 113 496 0201"),
        ("Priya Nair", "Workshop lead", "+44 113 496 0202"),
    ],
    ("Atelier Vasseur", "Lyon", "vasseur.example"): [
        ("Claire Vasseur", "Architect", "+33 4 65 71 03 01"),
        ("Hugo Renard", "Site engineer", "+33 4 65 71 03 02"),
        ("Inès Bouchard", "Office manager", "+33 4 65 71 03 03"),
    ],
}

NOTES = {
    "Marta Lindqvist": "Wants samples of the new catalogue before the spring fair.",
    "Graham Whitlock": "Call after five; he is in the shop all day.",
    "Claire Vasseur": "Prefers drawings as PDF, two weeks before each meeting.",
}


def seed() -> None:
    """Fill empty tables; needs an application context."""
    with change_info(user_id="seed", rationale="first import"):
        for name, email in USERS:
            hashed = generate_password_hash(PASSWORD, method="pbkdf2:sha256:10000")
            db.session.add(User(name=name, email=email, password_hash=hashed))
        db.session.flush()
        for (name, city, domain), people in COMPANIES.items():
            company = Company(name=name, city=city, domain=domain)
            company.contacts = [_contact(*person, domain) for person in people]
            db.session.add(company)
        db.session.commit()


def _contact(name: str, position: str, phone: str, domain: str) -> Contact:
    first = name.split()[0].lower().replace("è", "e")
    notes = [Note(text=NOTES[name])] if name in NOTES else []
    email = f"{first}@{domain}"
    return Contact(name=name, position=position, phone=phone, email=email, notes=notes)
