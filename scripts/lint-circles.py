"""Finds circles of files that import each other, within each crate.

Files that import each other are one file in several pieces: none of them can be read, tested or moved alone. An import is
every path that leads from one file of a crate to another: `use crate::…`, `super::…`, `self::…`, and paths in the code that
begin with one of these, with a module that was imported, or with a child module. A re-exported name leads to the file that
declares it, through as many re-exports as there are. The declaration of a child module (`mod x;`) is no import, nor is a
`pub use` that only passes on what a child declares. What is compiled for tests alone does not count.
"""

import re
import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
NAME = r"(?:r#)?[A-Za-z_]\w*"


def blank(found):
    """Spaces for everything but the ends of lines."""
    return re.sub(r"[^\n]", " ", found.group())


def without_text(source):
    """The source with comments, strings and characters blanked out, of the same length and lines."""
    pattern = re.compile(
        r'//[^\n]*|/\*.*?\*/|b?r(#+)".*?"\1|b?r"[^"]*"|b?"(?:\\.|[^"\\])*"|b?\'(?:\\.[^\']*|[^\'\\\n])\'', re.S
    )
    return pattern.sub(blank, source)


def end_of_block(text, start):
    """The place after the brace that closes the first one at or after `start`."""
    depth = 0
    for place in range(text.index("{", start), len(text)):
        depth += {"{": 1, "}": -1}.get(text[place], 0)
        if depth == 0:
            return place + 1
    return len(text)


def without_tests(text):
    """Blanks out every item under `#[cfg(test)]`; the names of modules among them are the second result."""
    skipped = set()
    for found in list(re.finditer(r"#\[cfg\((?:test|any\(test,[^\]]*)\)\]", text)):
        item = re.compile(r"\s*(?:#\[[^\]]*\]\s*)*(?:pub(?:\([^)]*\))?\s+)?").match(text, found.end())
        module = re.match(rf"mod\s+({NAME})\s*;", text[item.end() :])
        if module:
            skipped.add(module.group(1))
        semicolon, brace = text.find(";", item.end()), text.find("{", item.end())
        ends_early = brace < 0 or 0 <= semicolon < brace
        is_use = re.match(r"use\b", text[item.end() :])
        end = semicolon + 1 if ends_early or is_use else end_of_block(text, item.end())
        text = text[: found.start()] + re.sub(r"[^\n]", " ", text[found.start() : end]) + text[end:]
    return text, skipped


def leaves(tree, prefix=()):
    """Every path of a use tree, as (segments, name under which it is known here)."""
    tree = tree.strip()
    if not tree:
        return
    brace = tree.find("{")
    if brace >= 0 and tree.endswith("}"):
        inner, depth, part = tree[brace + 1 : -1], 0, ""
        head = prefix + tuple(piece for piece in re.split(r"\s*::\s*", tree[:brace].strip()) if piece)
        for letter in inner + ",":
            depth += {"{": 1, "}": -1}.get(letter, 0)
            if letter == "," and depth == 0:
                yield from leaves(part, head)
                part = ""
            else:
                part += letter
        return
    path, _, alias = (piece.strip() for piece in re.sub(r"\s+", " ", tree).partition(" as "))
    segments = prefix + tuple(re.split(r"\s*::\s*", path))
    if segments[-1] == "self":
        segments = segments[:-1]
    yield segments, alias or segments[-1]


class Module:
    """A file."""

    def __init__(self, crate, path, file):
        self.crate, self.path, self.file = crate, path, file
        self.children, self.imported, self.globs = {}, {}, []
        source = file.read_text()
        self.text, tests = without_tests(without_text(source))
        folder = file.parent if file.name in ("lib.rs", "main.rs", "mod.rs") else file.with_suffix("")
        for found in re.finditer(rf"\bmod\s+({NAME})\s*;", self.text):
            name = found.group(1)
            places = (folder / f"{name}.rs", folder / name / "mod.rs")
            child = next((place for place in places if place.is_file()), None)
            if child and name not in tests:
                self.children[name] = Module(crate, path + (name,), child)
        self.uses = []
        for found in re.finditer(r"\b(pub(?:\([^)]*\))?\s+)?use\s+([^;]+);", self.text):
            line = self.text.count("\n", 0, found.start(2)) + 1
            for segments, name in leaves(found.group(2)):
                self.uses.append((line, segments, name, bool(found.group(1))))
                if name == "*":
                    self.globs.append(segments[:-1])
                else:
                    self.imported[name] = segments
        self.code = re.sub(r"\buse\s+[^;]+;|\bpub\([^)]*\)", blank, self.text)

    def all(self):
        yield self
        for child in self.children.values():
            yield from child.all()

    def declares(self, name):
        words = r"fn|struct|enum|union|trait|type|const|static|mod|macro_rules!"
        return re.search(rf"\b(?:{words})\s+(?:mut\s+)?{re.escape(name)}\b", self.text) is not None


class Crate:
    def __init__(self, root):
        self.root = Module(self, (), root)
        self.modules = {module.path: module for module in self.root.all()}

    def find(self, module, segments, depth=0):
        """The module whose file declares what the path leads to, and what of the path is left; none if it leads out."""
        first, rest = segments[0], segments[1:]
        if first == "crate":
            start = self.root
        elif first == "self":
            start = module
        elif first == "super":
            start = self.modules[module.path[:-1]] if module.path else None
        elif first in module.children:
            start, rest = module.children[first], rest
        else:
            return None
        return self.descend(start, rest, depth) if start else None

    def descend(self, module, segments, depth):
        if not segments or segments[0] == "*":
            return module
        name = segments[0]
        if name == "super":
            parent = self.modules.get(module.path[:-1])
            return self.descend(parent, segments[1:], depth) if parent else None
        if name in module.children:
            return self.descend(module.children[name], segments[1:], depth)
        if name in module.imported and depth < 9:
            return self.find(module, module.imported[name] + segments[1:], depth + 1)
        if not module.declares(name) and depth < 9:
            for glob in module.globs:
                source = self.find(module, glob, depth + 1)
                if source and (source.declares(name) or name in source.imported or name in source.children):
                    return self.descend(source, segments, depth + 1)
        return module

    def imports(self):
        """Every import: from which module, to which, on which line, by which path."""
        for module in self.modules.values():
            known = {name: (name,) for name in module.children}
            for line, segments, name, public in module.uses:
                target = self.find(module, segments)
                if target is None:
                    continue
                passes_on = public and target.path[: len(module.path)] == module.path
                if self.names_module(module, segments):
                    known[name] = segments
                elif target is not module and not passes_on:
                    yield module, target, line, "::".join(segments)
            for found in re.finditer(rf"(?<![\w:$])({NAME})((?:\s*::\s*{NAME})+)", module.code):
                first = found.group(1)
                start = known.get(first) or ((first,) if first in ("crate", "super", "self") else None)
                if not start:
                    continue
                tail = tuple(re.split(r"\s*::\s*", found.group(2).strip())[1:])
                target = self.find(module, start + tail)
                if target is not None and target is not module:
                    line = module.code.count("\n", 0, found.start()) + 1
                    yield module, target, line, "::".join((first, *tail))

    def names_module(self, module, segments):
        """Whether the path leads to a module itself, not to something in it."""
        target = self.find(module, segments)
        return target is not None and segments[-1] == (target.path[-1] if target.path else "crate")


def components(edges):
    """Strongly connected components with more than one module (Tarjan)."""
    order, low, stack, found = {}, {}, [], []

    def visit(node):
        order[node] = low[node] = len(order)
        stack.append(node)
        for following in edges.get(node, {}):
            if following not in order:
                visit(following)
                low[node] = min(low[node], low[following])
            elif following in stack:
                low[node] = min(low[node], order[following])
        if low[node] == order[node]:
            component = set()
            while True:
                last = stack.pop()
                component.add(last)
                if last is node:
                    break
            if len(component) > 1:
                found.append(component)

    for node in list(edges):
        if node not in order:
            visit(node)
    return found


def shortest_circle(edges, component):
    """One of the shortest circles within a component, as its modules in order."""
    best = None
    for start in sorted(component, key=lambda module: module.path):
        paths, seen = [[start]], {start}
        while paths and (best is None or len(paths[0]) < len(best)):
            path = paths.pop(0)
            for following in edges[path[-1]]:
                if following is start and (best is None or len(path) < len(best)):
                    best = path
                if following in component and following not in seen:
                    seen.add(following)
                    paths.append([*path, following])
    return best


def main():
    sys.setrecursionlimit(10_000)
    circles = crates = 0
    for folder in sorted((ROOT / "crates").iterdir()):
        for entry in ("src/lib.rs", "src/main.rs"):
            if not (folder / entry).is_file():
                continue
            crates += 1
            edges = {}
            for source, target, line, path in Crate(folder / entry).imports():
                edges.setdefault(source, {}).setdefault(target, []).append((line, path))
            for component in components(edges):
                circles += 1
                circle = shortest_circle(edges, component)
                print(f"lint-circles: {folder.name}: {len(component)} files import each other, for example:")
                for source, target in zip(circle, circle[1:] + circle[:1]):
                    shown = ", ".join(f"{path} (line {line})" for line, path in edges[source][target][:3])
                    print(f"    {source.file.relative_to(ROOT)} imports {shown}")
                if "--all" in sys.argv:
                    for source in sorted(component, key=lambda module: module.path):
                        for target in edges[source]:
                            if target in component:
                                shown = ", ".join(sorted({path for _, path in edges[source][target]}))
                                print(f"        {source.file.name} -> {target.file.relative_to(ROOT)}: {shown}")
    if crates == 0:
        print("lint-circles: found no crates")
    return 1 if circles or not crates else 0


if __name__ == "__main__":
    sys.exit(main())
