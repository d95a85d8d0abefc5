//! The most costly schemas and examples that each limit allows, and ordinary ones.

use serde_json::{Map, json};

use super::*;

/// Location and message of each fault.
fn check(schema: &Value, example: Option<&Value>) -> Vec<(String, String)> {
    let mut faults = Faults::new();
    super::check(&mut faults, Some(schema), example);
    faults
        .into_vec()
        .into_iter()
        .map(|fault| (fault.location, fault.message))
        .collect()
}

#[track_caller]
fn assert_refused(schema: &Value, example: Option<&Value>, location: &str, message: &str) {
    let faults = check(schema, example);
    let [(at, why)] = faults.as_slice() else {
        panic!("{faults:?}");
    };
    assert!(at.starts_with(location), "{at}: {why}");
    assert!(why.contains(message), "{at}: {why}");
}

fn accepts(schema: &Value, example: &Value) {
    assert_eq!(check(schema, Some(example)), [], "{schema}");
}

/// Definitions a0 to a`last`, each of which refers twice to the next one by `keyword`.
fn doubling(keyword: &str, last: usize) -> Value {
    let mut definitions: Map<String, Value> = (0..last)
        .map(|n| {
            let next = json!({"$ref": format!("#/$defs/a{}", n + 1)});
            (format!("a{n}"), json!({keyword: [next, next]}))
        })
        .collect();
    definitions.insert(format!("a{last}"), json!({"type": "object"}));
    json!({"$defs": definitions, "$ref": "#/$defs/a0"})
}

#[test]
fn references_that_double_are_refused() {
    for keyword in ["allOf", "anyOf", "oneOf", "prefixItems"] {
        let schema = doubling(keyword, 36);
        assert_refused(&schema, Some(&json!({})), "schema/$defs/a", "one schema too many");
        assert_refused(&schema, None, "schema/$defs/a", "one schema too many");
    }
    // What it takes to write out by hand is no harm.
    accepts(&doubling("allOf", 8), &json!({}));
}

#[test]
fn unevaluated_keywords_count_as_often_as_they_look() {
    let mut schema = json!({"type": "object"});
    for _ in 0..12 {
        schema = json!({"unevaluatedProperties": false, "allOf": [schema]});
    }
    assert_refused(&schema, None, "schema/allOf", "one schema too many");
    let strict = json!({
        "type": "object", "unevaluatedProperties": false, "allOf": [{"properties": {"id": {"type": "string"}}}]
    });
    accepts(&strict, &json!({"id": "1"}));
    assert_refused(
        &strict,
        Some(&json!({"no": 1})),
        "example",
        "does not follow the schema",
    );
}

#[test]
fn a_schema_may_refer_to_itself_for_parts_of_the_value_only() {
    let tree = json!({
        "type": "object",
        "properties": {"name": {"type": "string"}, "children": {"type": "array", "items": {"$ref": "#"}}}
    });
    accepts(&tree, &json!({"children": [{"name": "a", "children": [{}]}]}));
    assert_refused(
        &tree,
        Some(&json!({"children": [{"name": 1}]})),
        "example",
        "does not follow the schema",
    );
    for endless in [
        json!({"$ref": "#"}),
        json!({"allOf": [{"$ref": "#"}]}),
        json!({"$ref": "#/$defs/a", "$defs": {
            "a": {"not": {"$ref": "#/$defs/b"}}, "b": {"anyOf": [{"$ref": "#/$defs/a"}]}
        }}),
        json!({"properties": {"x": {"if": {"$ref": "#/properties/x"}}}}),
    ] {
        assert_refused(&endless, Some(&json!({"x": 1})), "schema", "has no end");
    }
    // Every member is visited twice on every level.
    let again = json!({"properties": {"a": {"$ref": "#"}}});
    let doubling = json!({"allOf": [again, again]});
    let mut example = json!({});
    for _ in 0..40 {
        example = json!({"a": example});
    }
    assert_refused(&doubling, Some(&example), "example", "too much work");
}

#[test]
fn definitions_that_all_refer_to_each_other_are_refused() {
    let names: Vec<String> = (0..12).map(|n| format!("d{n}")).collect();
    let all: Map<String, Value> = names
        .iter()
        .map(|name| (name.clone(), json!({"$ref": format!("#/$defs/{name}")})))
        .collect();
    let definitions: Map<String, Value> = names
        .iter()
        .map(|name| {
            (
                name.clone(),
                json!({"properties": all, "unevaluatedProperties": false}),
            )
        })
        .collect();
    let schema = json!({"$defs": definitions, "$ref": "#/$defs/d0"});
    assert_refused(&schema, None, "schema/$defs/d", "one schema too many");
}

#[test]
fn references_stay_within_the_schema() {
    for reference in [
        "https://example.com/schema.json",
        "file:///etc/passwd",
        "other.json#/a",
        "#anchor",
        "#/nothing",
        "#/%FF",
        "",
    ] {
        let schema = json!({"properties": {"a": {"$ref": reference}}});
        assert_refused(&schema, None, "schema/properties/a", "by a JSON pointer");
    }
    assert_refused(&json!({"$dynamicRef": "#a"}), None, "schema", "$dynamicRef");
    let moved = json!({"properties": {"a": {"$id": "https://x.test/", "$ref": "#/properties/a"}}});
    assert_refused(&moved, None, "schema/properties/a", "must not have $id");
    // A member may have any name, and an identifier without references is only a name.
    accepts(
        &json!({"$id": "https://x.test/", "properties": {"$ref": {"type": "string"}, "id": {"$id": "https://x.test/id"}}}),
        &json!({"$ref": "a", "id": 1}),
    );
    accepts(
        &json!({"properties": {"a/b": {"$ref": "#/%24defs/x~1y"}}, "$defs": {"x/y": {"type": "string"}}}),
        &json!({"a/b": "text"}),
    );
}

#[test]
fn patterns_take_linear_time_and_bounded_memory() {
    let of_text = |pattern: &str| json!({"properties": {"a": {"pattern": pattern}}});
    let text = json!({"a": format!("{}!", "a".repeat(10_000))});
    // Exponential for an engine that backtracks, and refused here only because the text does not match.
    let (at, why) = check(&of_text("^(a+)+$"), Some(&text)).remove(0);
    assert_eq!(at, "example", "{why}");
    for (pattern, reason) in [
        ("((a{1,1000}){1,1000})", "once it is compiled"),
        ("(((a{1,100}){1,100}){1,100}){1,100}", "once it is compiled"),
        (r"\p{L}{1000}", "once it is compiled"),
        ("(?=a)b", "look-around"),
        (r"(a)\1", "look-around"),
        ("(", "is not a regular expression"),
        (&"(".repeat(MAX_PATTERN), "is not a regular expression"),
        (&"a".repeat(MAX_PATTERN + 1), "must not be longer"),
    ] {
        assert_refused(&of_text(pattern), None, "schema/properties/a/pattern", reason);
        let names = json!({"patternProperties": {pattern: {}}});
        assert_refused(&names, None, "schema/patternProperties", reason);
        // Those that nothing refers to are compiled by somebody, too.
        let defined = json!({"$defs": {"a": {"pattern": pattern}}});
        assert_refused(&defined, None, "schema/$defs/a/pattern", reason);
    }
    for (pattern, text) in [
        (
            r"^[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}$",
            "0e37df36-f698-11e6-8dd4-cb9ced3df976",
        ),
        (r"^\d{4}-\d{2}-\d{2}$", "2026-11-30"),
        (r"^\p{L}+$", "größe"),
        (r"^[^@\s]+@[^@\s]+\.[^@\s]+$", "a@example.com"),
        (r"^https?:\/\/", "https://example.com"),
    ] {
        accepts(&of_text(pattern), &json!({"a": text}));
    }
    let many = |count: usize| {
        let members = (0..count).map(|n| (format!("p{n}"), json!({"pattern": format!("^x{n}y*z")})));
        json!({"properties": members.collect::<Map<_, _>>()})
    };
    assert_eq!(check(&many(MAX_PATTERNS), None), []);
    assert_refused(
        &many(MAX_PATTERNS + 1),
        None,
        "schema/properties/p100",
        "another pattern",
    );
    // The most costly pattern over the longest text that it may be asked about.
    let costly = "^(a|b)*a(a|b){300}$";
    let text: String = (0..60_000_u64)
        .map(|n| if n * n % 7 < 3 { 'a' } else { 'b' })
        .collect();
    assert_refused(
        &of_text(costly),
        Some(&json!({"a": text})),
        "example",
        "too much work",
    );
    let (at, _) = check(&of_text(costly), Some(&json!({"a": text[..30_000]}))).remove(0);
    assert_eq!(at, "example");
}

#[test]
fn documents_are_measured_first() {
    let long = json!({"description": "x".repeat(MAX_DOCUMENT)});
    assert_refused(&long, None, "schema", "longer than");
    assert_refused(&json!({}), Some(&long), "example", "longer than");
    let many = json!({"enum": vec![0; MAX_VALUES]});
    assert_refused(&many, None, "schema", "more than 10000 values");
    let a_megabyte = json!({"enum": vec!["x".repeat(99); 9_990]});
    assert_refused(&a_megabyte, None, "schema", "longer than");
    assert_refused(
        &json!({}),
        Some(&json!({"a": vec![0; 500_000]})),
        "example",
        "values",
    );
    let nested =
        |keyword: &str, levels: usize| (0..levels).fold(json!({}), |inner, _| json!({keyword: inner}));
    assert_refused(&nested("not", MAX_DEPTH), None, "schema", "deeper than 64 levels");
    assert_refused(&nested("not", 200), None, "schema", "deeper than 64 levels");
    assert_eq!(check(&nested("not", MAX_DEPTH - 1), None), []);
    let references = vec![json!({"$ref": "#/$defs/a"}); MAX_REFERENCES + 1];
    let schema = json!({"allOf": references, "$defs": {"a": {}}});
    assert_refused(&schema, None, "schema", "more than 1000 references");
    let chain = |length: usize| {
        let definitions =
            (0..length).map(|n| (format!("a{n}"), json!({"$ref": format!("#/$defs/a{}", n + 1)})));
        let mut definitions: Map<_, _> = definitions.collect();
        definitions.insert(format!("a{length}"), json!({"type": "object"}));
        json!({"$ref": "#/$defs/a0", "$defs": definitions})
    };
    assert_refused(&chain(MAX_EXPANDED_DEPTH), None, "schema", "must not be deeper");
    accepts(&chain(MAX_EXPANDED_DEPTH - 2), &json!({}));
    // A long name counts for each of the schemas below it.
    let name = "n".repeat(40_000);
    let below = json!({"properties": {name: {"allOf": vec![json!({}); 5_000]}}});
    assert_refused(&below, None, "schema", "one schema too many");
}

#[test]
fn comparing_is_counted() {
    let numbers: Vec<Value> = (0..4_000).map(Value::from).collect();
    let listed = json!({"properties": {"a": {"items": {"enum": numbers}}}});
    assert_refused(&listed, Some(&json!({"a": numbers})), "example", "too much work");
    let unique = json!({"properties": {"a": {"uniqueItems": true, "items": {"uniqueItems": true}}}});
    accepts(&unique, &json!({"a": numbers}));
    let similar: Vec<Value> = (0..16).map(|n| json!({"a": vec![0; 500], "z": n})).collect();
    accepts(&unique, &json!({"a": similar}));
    let nested = (0..20).fold(json!([0]), |inner, _| json!([inner, 1, 2, 3]));
    let again = json!({"properties": {"a": {"$ref": "#/$defs/u"}}, "$defs": {
        "u": {"uniqueItems": true, "items": {"$ref": "#/$defs/u"}}
    }});
    accepts(&again, &json!({"a": nested}));
    let names: Map<String, Value> = (0..4_000).map(|n| (format!("n{n}"), json!(1))).collect();
    let patterns: Map<String, Value> = (0..100).map(|n| (format!("n{n}$"), json!({}))).collect();
    let schema = json!({"patternProperties": patterns, "additionalProperties": false});
    assert_refused(&schema, Some(&Value::Object(names)), "example", "too much work");
}

#[test]
fn the_deepest_recursion_has_stack_enough() {
    // Eight schemas a level, and as many levels as an example may have.
    let inner = (0..7).fold(json!({"$ref": "#"}), |inner, _| json!({"allOf": [inner]}));
    let schema = json!({"properties": {"a": inner}});
    let example = (0..MAX_DEPTH - 1).fold(json!({}), |inner, _| json!({"a": inner}));
    let on_a_small_stack = move || {
        let faults = check(&schema, Some(&example));
        let allowed = MAX_VALIDATION_DEPTH / 9 >= MAX_DEPTH;
        assert_eq!(faults.is_empty(), allowed, "{faults:?}");
        let shallower = (0..MAX_VALIDATION_DEPTH / 9 - 1).fold(json!({}), |inner, _| json!({"a": inner}));
        accepts(&schema, &shallower);
    };
    std::thread::Builder::new()
        .stack_size(256 * 1024)
        .spawn(on_a_small_stack)
        .unwrap()
        .join()
        .unwrap();
}

#[test]
fn what_is_no_schema_is_refused_with_a_short_reason() {
    let schema = json!({"type": "nothing", "description": "x".repeat(1_000)});
    let (at, why) = check(&schema, None).remove(0);
    assert_eq!(at, "schema");
    assert!(why.starts_with("is not a JSON Schema: "), "{why}");
    assert!(why.chars().count() < MAX_REASON + 50);
    let branches = vec![json!({"required": ["a"]}); 9_000 / 3];
    let undescribed = json!({"anyOf": branches, "properties": {"b": {"items": {"type": "string"}}}});
    let example = json!({"b": vec![1; 9_000]});
    let why = check(&undescribed, Some(&example)).remove(0).1;
    assert_eq!(why, "does not follow the schema");
}
