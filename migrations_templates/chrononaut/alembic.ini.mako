# Settings of Alembic for this project.

[alembic]
script_location = ${script_location}
prepend_sys_path = .
path_separator = os

# Where the database is.
sqlalchemy.url = postgresql+psycopg://localhost/app

[loggers]
keys = root,alembic

[handlers]
keys = console

[formatters]
keys = plain

[logger_root]
level = WARNING
handlers = console
qualname =

[logger_alembic]
level = INFO
handlers =
qualname = alembic

[handler_console]
class = StreamHandler
args = (sys.stderr,)
level = NOTSET
formatter = plain

[formatter_plain]
format = %(levelname)s [%(name)s] %(message)s
