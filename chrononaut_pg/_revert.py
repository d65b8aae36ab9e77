"""Puts objects back to what they were: the work behind `chrononaut_pg.revert`.

First everything is read, the past and the present of each object, into a tree of nodes;
then it is written in the order that constraints ask for: what came since is deleted,
what is gone comes again, values and relations become what they were.
"""

from collections.abc import Callable, Iterator, Mapping
from typing import Any, cast

from sqlalchemy import Table
from sqlalchemy import inspect as sa_inspect
from sqlalchemy.orm import Session, object_session

from chrononaut_pg import _association as association
from chrononaut_pg._comparing import same
from chrononaut_pg._extras import add_extras
from chrononaut_pg._going_back import go_back
from chrononaut_pg._identity import (
    Identity,
    find_all,
    find_behind_filters,
    identity,
    take_place,
)
from chrononaut_pg._members import Tree, hold, is_one, members, mixed, put, take
from chrononaut_pg._nodes import Node, Relation
from chrononaut_pg._overriding import allow_keys
from chrononaut_pg._recorded import Recorded, Span
from chrononaut_pg._restorable import (
    Part,
    check_class,
    check_kind,
    eager,
    is_only_of_others,
    is_unique,
    is_versioned,
    keep,
    led_by_changed_keys,
    model_of,
    own,
    parts,
    relation_of,
    without_later,
)
from chrononaut_pg._together import (
    Along,
    can_take_along,
    found_along,
    load_past,
    queried_with,
)
from chrononaut_pg._turned import turn
from chrononaut_pg.declarations import Declaration, declaration, is_declared


class Plan:
    """What a revert reads, and then writes, in one session.

    *span* says which changes the columns of the past must have been recorded by.
    """

    def __init__(self, session: Session, said: Mapping[str, Any], span: Span) -> None:
        self.session = session
        self._said = said
        self._span = span
        self._recorded = Recorded(session)
        self._nodes: dict[Identity, Node] = {}
        self._fresh: set[int] = set()
        self._turned: set[int] = set()
        self._attached: set[int] = set()
        self._along: Along = {}
        self.skipped: dict[str, dict[str, str]] = {}

    def root(self, image: Any, model: type[Any], past: Any, tree: Tree) -> Any:
        """Put back the object of *image*, a version or itself in the past; return it.

        *past* is it in a session of the past, needed for the relations in *tree*.
        """
        load_past(past, tree, model, self._recorded)
        key = identity(model, image)
        live, self._along = found_along(self.session, key, past, tree, self._recorded)
        live = find_behind_filters(self.session, key) if live is None else live
        node = self._nodes[key] = Node(image, live, self._span)
        check_class(live, model)
        for name, below in tree.items():
            self._read(node, past, name, below)
        self._write(node)
        return node.live

    def unmake(self, key: Identity, live: Any, past: Session, tree: Tree) -> None:
        """Delete an object that did not exist in a session of the past.

        So do those whom it has in the relations in *tree* and that did not exist.
        """
        self._read_unmade(key, live, past, tree)
        self._remove(list(self._nodes.values()))
        self.say(live)
        self.session.delete(live)

    def _read_unmade(self, key: Identity, live: Any, past: Session, tree: Tree) -> None:
        node = self._nodes[key] = Node(None, live, self._span)
        for name, below in tree.items():
            relation = relation_of(type(live), name)
            if relation.direction.name != "ONETOMANY":
                continue  # others may refer to them, or use them
            now = members(live, relation, anew=True)
            moved = list(self._then(now, past))
            node.relations.append(Relation(relation, [], now, moved))
            for one, was in moved:
                other = identity(type(one), one)
                if was is None and other not in self._nodes:
                    deeper = {
                        name: rest
                        for name, rest in below.items()
                        if not is_only_of_others(relation, type(one), name)
                    }
                    self._read_unmade(other, one, past, deeper)

    def _read(self, node: Node, past: Any, name: str, tree: Tree) -> None:
        """Read one relation of a node, then and now, and what is below it."""
        relation = relation_of(type(past), name)
        was = members(past, relation, eager(relation.entity.class_, tree), known=True)
        keys = [identity(type(one), one) for one in was]
        new = [key for key in keys if key not in self._nodes]
        now, known = self._present(node.live, name, new, tree)
        known.update((identity(type(one), one), one) for one in now)
        found = Relation(relation, [], now, rows=association.rows_of(past, relation))
        node.relations.append(found)
        nodes = self._made(dict(zip(keys, was, strict=True)), known)
        found.wanted.extend(nodes)
        for one, then in zip(nodes, was, strict=True):  # a root's past may be a version
            for below, deeper in tree.items():
                if is_only_of_others(relation, type(then), below):
                    continue
                if all(other.of.key != below for other in one.relations):
                    self._read(one, then, below, deeper)
        if relation.direction.name == "ONETOMANY" and is_versioned(relation):
            kept = {id(one.live) for one in nodes}
            others = [one for one in now if id(one) not in kept]
            then_session = object_session(past)
            assert then_session is not None
            found.moved = list(self._then(others, then_session))

    def _present(
        self, live: Any, name: str, others: list[Identity], tree: Tree
    ) -> tuple[list[Any], dict[Identity, Any]]:
        """Return whom a live object has in a relation, and *others* if they came along.

        None stands for those that are gone. The relations in *tree* are loaded, too.
        """
        if live is None:
            return [], {}
        relation = sa_inspect(type(live)).relationships[name]
        if id(live) in self._fresh:
            return self._note(members(live, relation, known=True)), {}
        options = eager(relation.entity.class_, tree)
        read = self._along.pop(name, None)
        if read is None:
            if not others or not all(can_take_along(relation, m) for m, _ in others):
                return self._note(members(live, relation, options, anew=True)), {}
            read = queried_with(live, relation, [key for _, key in others], options)
        now, found = map(self._note, read)
        there = {identity(type(one), one): one for one in found}
        return now, {**dict.fromkeys(others), **there}

    def _note(self, fresh: list[Any]) -> list[Any]:
        """Note that the relations of these objects were loaded along with them."""
        self._fresh.update(id(one) for one in fresh)
        return fresh

    def _made(
        self, was: Mapping[Identity, Any], known: Mapping[Identity, Any]
    ) -> list[Node]:
        """Return a node for each object of the past, with what it is now."""
        new = [key for key in was if key not in self._nodes]
        asked = find_all(self.session, [key for key in new if key not in known])
        for key in new:
            live = known[key] if key in known else asked.get(key)
            live = find_behind_filters(self.session, key) if live is None else live
            check_class(live, type(was[key]))
            self._nodes[key] = Node(was[key], live, self._span.of_related())
        return [self._nodes[key] for key in was]

    def _then(
        self, others: list[Any], past: Session
    ) -> Iterator[tuple[Any, Node | None]]:
        """Yield objects with what they were then, None if they did not exist."""
        keys = [identity(type(one), one) for one in others]
        found = find_all(past, keys)
        for key, one in zip(keys, others, strict=True):
            was = found.get(key)
            span = self._span.of_related()
            yield one, None if was is None else Node(was, one, span)

    def _write(self, root: Node) -> None:
        nodes = list(self._nodes.values())
        models = [m for m in (model_of(n.past) for n in nodes) if is_declared(m)]
        self._recorded.ask(map(declaration, models))
        keyed = [(n, r) for n in nodes for r in n.relations if n.live is not None]
        for node, relation in keyed:
            hold(node.live, relation.of, relation.present)
        self._turned = turn(nodes)
        self._remove(nodes)  # may flush, so that nobody may be without a parent yet
        for node, relation in keyed:
            if mixed(node.live, relation.of):
                for one in relation.present:
                    take(node.live, relation.of, one)
        for node in nodes:
            if node.live is None:
                self._resurrect(node)
        for node in nodes:
            self.restore(node)
        for node in nodes:
            for relation in node.relations:
                self._attach(node.live, relation)
        for node in nodes:
            if id(node.live) in self._attached:  # listeners may have set other values
                self._set_all(node) if node.resurrected else self.restore(node)
            self._settle(node)
        for table, columns in self._recorded.lost(root.span, root.live).items():
            self.skipped.setdefault(table, {}).update(columns)

    def _remove(self, nodes: list[Node]) -> None:
        """Detach and delete what came since; move back what was elsewhere."""
        deleted: list[Any] = []
        wanted = {id(node.live) for node in nodes}
        for node in nodes:
            for relation in node.relations:
                if relation.of.direction.name == "MANYTOONE":
                    continue
                kept = {id(one.live) for one in relation.wanted}
                then = {id(one): was for one, was in relation.moved}
                for one in relation.present:
                    if id(one) in kept or id(one) in self._turned:
                        continue
                    was = then.get(id(one))
                    if was is not None and id(one) not in wanted:
                        go_back(self, node, relation, one, was)
                        continue
                    take(node.live, relation.of, one)
                    if id(one) in then and was is None:
                        deleted.append(one)
        for one in deleted:
            self.say(one)
            self.session.delete(one)
        if any(is_unique(one) for one in deleted):
            self.session.flush()  # the unit of work would insert before it deletes

    def _resurrect(self, node: Node) -> None:
        model = model_of(node.past)
        one = declaration(model)
        mapper = one.mapper
        make = cast(Callable[[], Any], mapper.class_manager.new_instance)
        live = node.live = make()
        if mapper._set_polymorphic_identity is not None:
            mapper._set_polymorphic_identity(sa_inspect(live))
        node.resurrected = True
        check_kind(one, node.past)
        self._set_all(node)
        allow_keys(self.session, mapper)
        self.say(live)
        take_place(self.session, live)

    def _set_all(self, node: Node) -> None:
        one = declaration(model_of(node.past))
        for part in without_later(parts(one, type(node.past)), node.relations):
            self._set(node, one, part)

    def restore(self, node: Node, names: set[str] | None = None) -> None:
        """Give an object the values that are known of it, or those of some names."""
        model = model_of(node.past)
        if node.resurrected or not is_declared(model):
            return
        one = declaration(model)
        found = without_later(parts(one, type(node.past)), node.relations)
        wanted = {
            part.name: part
            for part in found
            if not part.is_fixed and (names is None or part.name in names)
        }
        unloaded = wanted.keys() - vars(node.live).keys()
        if unloaded:  # deferred ones at once, and those that refuse to be loaded
            self.session.refresh(node.live, unloaded)
        for part in wanted.values():
            self._set(node, one, part)

    def _set(self, node: Node, one: Declaration, part: Part) -> None:
        value, column = getattr(node.past, part.name), part.column
        if not self._recorded.knows(column, node.span, value):
            self.skipped.setdefault(str(column.table.name), {})[column.name] = (
                "was not recorded at the time"
            )
            return
        if node.resurrected or not same(
            getattr(node.live, part.name), value, column.type
        ):
            setattr(node.live, part.name, own(value))
            for together in one.mapper.composites:
                vars(node.live).pop(together.key, None)
        elif column.onupdate is not None:
            node.steady.append((part.name, column.table))

    def _attach(self, live: Any, relation: Relation) -> None:
        """Let those belong to a relation who belonged to it."""
        of = relation.of
        if of.direction.name == "MANYTOONE" and not is_versioned(of):
            return  # the foreign key says it all
        wanted = [one.live for one in relation.wanted]
        if is_one(of):
            target = wanted[0] if wanted else None
            if getattr(live, of.key) is not target:
                setattr(live, of.key, target)
                self._attached.update((id(live), id(target)))
            return
        present = {id(one) for one in members(live, of, known=True)}
        for one in wanted:
            if id(one) not in present:
                put(live, of, one)
                self._attached.add(id(one))
        if relation.rows:
            span = self._span.of_related()
            self._recorded.ask_for(of.parent, [cast(Table, of.secondary)])
            association.put_back(
                live, of, relation.rows, lambda c, v: self._recorded.knows(c, span, v)
            )

    def _settle(self, node: Node) -> None:
        """Say what changed objects were reverted to; forget relations out of date."""
        if not is_declared(model_of(node.past)):
            return
        if node.resurrected:
            return
        if self.session.is_modified(node.live):
            self.say(node.live)
            keep(node.live, node.steady)
        if stale := led_by_changed_keys(node.live):
            self.session.expire(node.live, stale)

    def say(self, live: Any) -> None:
        if not is_declared(type(live)):
            return
        (model, key), root = next(iter(self._nodes.items()))
        said = dict(self._said)
        if live is not root.live:
            said["of"] = {"table": str(declaration(model).table), "key": list(key)}
        add_extras(live, {"reverted_to": said})
