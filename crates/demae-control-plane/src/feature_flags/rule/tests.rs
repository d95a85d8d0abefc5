//! What rules mean, and what hostile ones come to.

use serde_json::json;

use super::*;

fn attributes(context: &Value) -> Attributes {
    Attributes::new(context.as_object().unwrap())
}

fn evaluate(rule: &str, context: &Value) -> Result<bool, String> {
    Rule::compile(rule)
        .unwrap_or_else(|error| panic!("{rule}: {error}"))
        .matches(&attributes(context))
}

#[test]
fn rules_see_the_context() {
    let context = json!({
        "targetingKey": "user-1", "plan": "pro", "seats": 12, "ratio": 0.5, "beta": true, "nothing": null,
        "license": {"slug": "enterprise", "tags": ["a", "b"]}, "groups": ["staff", "beta"], "with-dash": 1
    });
    for rule in [
        "license.slug == 'enterprise'",
        "plan in ['pro', 'team'] && seats >= 10",
        "seats > 11.5 && ratio < 1",
        "targetingKey.startsWith('user-') && targetingKey.endsWith('1') && plan.contains('r')",
        "beta && nothing == null",
        "'staff' in groups",
        "groups.exists(group, group == 'beta')",
        "groups.all(group, size(group) > 3)",
        "groups.exists_one(group, group == 'beta')",
        "groups.filter(group, group != 'beta').size() == 1",
        "groups.map(group, group + '!') == ['staff!', 'beta!']",
        "has(context.plan) && !has(context.country)",
        "has(license.tags) && license.tags[0] == 'a'",
        "context['with-dash'] == 1",
        "'plan' in context",
        "(seats % 5 == 2) ? plan == 'pro' : false",
        "int('12') == seats && string(seats) == '12' && double(seats) / 24.0 == ratio",
        "{'pro': true}[plan]",
        "beta || unknown",
        "!(-seats > 0)",
    ] {
        assert_eq!(evaluate(rule, &context), Ok(true), "{rule}");
    }
}

#[test]
fn what_cannot_be_told_is_an_error() {
    let context = json!({"plan": "pro", "groups": ["a"]});
    for (rule, reason) in [
        ("country == 'JP'", "Undeclared reference to 'country'"),
        ("context.country == 'JP'", "No such key"),
        ("plan > 3", "no matching overload"),
        ("plan", "not a bool but a string"),
        ("groups[4] == 'a'", "out of bounds"),
        ("1 / 0 == 1", "Division by zero"),
        ("9223372036854775807 + 1 > 0", "Overflow"),
    ] {
        let error = evaluate(rule, &context).unwrap_err();
        assert!(error.contains(reason), "{rule}: {error}");
        assert!(error.chars().count() <= MAX_REASON + 1);
    }
}

#[test]
fn a_bad_rule_is_refused_with_its_place() {
    for (rule, line, column) in [
        ("", 1, 1),
        ("   ", 1, 1),
        ("plan ==", 1, 8),
        ("plan == 'pro", 1, 9),
        ("plan == 'pro' &&\n  (seats", 2, 9),
        ("1 + + 2", 1, 5),
        ("plan plan", 1, 6),
        ("has(plan)", 1, 5),
        ("groups.exists(1, true)", 1, 15),
        ("plan.matches('^p')", 1, 6),
        ("true &&\n  now() > 1", 2, 3),
        ("Plan{name: 'pro'}", 1, 1),
        ("plan.?name", 1, 5),
    ] {
        let error = Rule::compile(rule).unwrap_err();
        assert_eq!((error.line, error.column), (line, column), "{rule}: {error}");
        let text = error.to_string();
        assert!(text.contains(&format!("line {line}, column {column}")), "{text}");
    }
}

/// On an eighth of the stack that a worker has.
fn on_a_small_stack(work: impl FnOnce() + Send + 'static) {
    std::thread::Builder::new()
        .stack_size(256 * 1024)
        .spawn(work)
        .unwrap()
        .join()
        .unwrap();
}

#[test]
fn hostile_texts_are_refused_or_read_without_harm() {
    let nested =
        |open: &str, close: &str, times: usize| format!("{}a{}", open.repeat(times), close.repeat(times));
    let mut rules = vec![
        nested("(", "", MAX_RULE - 1),
        nested("(", ")", MAX_RULE / 2 - 1),
        nested("[", "]", MAX_RULE / 2 - 1),
        nested("{1:", "}", MAX_RULE / 4 - 1),
        nested("size(", ")", MAX_RULE / 6 - 1),
        nested("a.exists(b,", ")", MAX_RULE / 12 - 1),
        nested("a?(", "):a", MAX_RULE / 6 - 1),
        format!("a{}", "+a".repeat(MAX_RULE / 2 - 1)),
        format!("a{}", ".b".repeat(MAX_RULE / 2 - 1)),
        format!("a{}", "[0]".repeat(MAX_RULE / 3 - 1)),
        format!("a{}", ".size()".repeat(MAX_RULE / 7 - 1)),
        format!("{}a", "a?a:".repeat(MAX_RULE / 4 - 1)),
        "x".repeat(MAX_RULE + 1),
    ];
    for text in [
        "(", "[", "{", "!", "-", "((?", "f(", "a.b(", "[[[[,", "'", "\"", "\\", ";", "\u{0}é(", "{a:",
    ] {
        rules.push(text.repeat(MAX_RULE / text.chars().count()));
    }
    on_a_small_stack(move || {
        for rule in rules {
            assert!(Rule::compile(&rule).is_err(), "{rule}");
        }
        // Long, but harmless.
        let context = json!({"a": 1, "b": true});
        let list = vec!["'x'"; MAX_RULE / 5].join(",");
        let conditions = vec!["b"; 30].join("&&");
        for rule in [
            format!("!('y' in [{list}])"),
            conditions,
            format!("{}b", "!".repeat(MAX_RULE - 2)),
            nested("(", ")", 32).replace('a', "b"),
        ] {
            assert_eq!(evaluate(&rule, &context), Ok(true), "{rule}");
        }
    });
}

#[test]
fn evaluating_ends() {
    let context = json!({
        "text": "x".repeat(10_000), "many": vec![json!("abcdefgh"); 8_000], "numbers": (0..9_000).collect::<Vec<_>>()
    });
    let doubling = format!("[text]{}.size() == 1", ".map(x, x + x)".repeat(14));
    on_a_small_stack(move || {
        for rule in [
            doubling.as_str(),
            "many.all(x, many.all(y, x == y))",
            "numbers.map(x, numbers.map(y, numbers.map(z, x + y + z))).size() > 0",
            "numbers.exists(x, numbers.exists(y, text.contains('y')))",
            "numbers.filter(x, [text, text, text] == [text, text, text + text]).size() == 0",
            "numbers.all(x, context == context)",
            "[1,2,3,4].map(a, [text,text,text,text].map(b, [b+b,b+b].map(c, [c+c,c+c,c+c].map(d, d+d)))).size() == 0",
        ] {
            let error = evaluate(rule, &context).unwrap_err();
            assert!(error.contains("takes too long"), "{rule}: {error}");
        }
        // What is merely large is not hostile.
        assert_eq!(
            evaluate("'abcdefgh' in many && !('z' in many)", &context),
            Ok(true)
        );
        assert_eq!(evaluate("numbers.exists(x, x == 8999)", &context), Ok(true));
        assert_eq!(
            evaluate("size(many.filter(x, x == 'abcdefgh')) == 8000", &context),
            Ok(true)
        );
    });
}

#[test]
fn a_request_has_a_limit_of_its_own() {
    let attributes = attributes(&json!({"many": vec![json!(1); 8_000]}));
    let costly = Rule::compile("many.all(x, many.all(y, x == y))").unwrap();
    for _ in 0..REQUEST_FUEL / RULE_FUEL {
        costly.matches(&attributes).unwrap_err();
    }
    let cheap = Rule::compile("size(many) > 1").unwrap();
    assert!(cheap.matches(&attributes).unwrap_err().contains("takes too long"));
}
