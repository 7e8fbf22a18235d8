//! Entry points of every kind: found or named, and the context that they get.

use std::time::{SystemTime, UNIX_EPOCH};

use serde_json::json;

use super::{deploy, deployed, folder, refused};
use crate::harness::shared;
use crate::tests;

tests!(
    a_handler_is_told_about_itself,
    asynchronous_handlers_share_a_loop,
    generators_are_collected,
    handlers_come_in_many_forms,
    a_folder_may_have_several_functions,
    what_is_ambiguous_is_told,
);

fn a_handler_is_told_about_itself() {
    let instance = shared();
    let code = "
import os

def lambda_handler(event, context):
    context.log('logged')
    names = ['function_name', 'function_version', 'memory_limit_in_mb', 'invoked_function_arn',
             'aws_request_id', 'log_group_name', 'log_stream_name', 'tenant_id', 'client_context']
    return {
        'context': {name: getattr(context, name) for name in names},
        'identity': [context.identity.cognito_identity_id, context.identity.cognito_identity_pool_id],
        'remaining': context.get_remaining_time_in_millis(),
        'variables': dict(os.environ),
        'event': event,
        'cwd': os.getcwd(),
    }
";
    let path =
        folder(&instance, "told", &[("lambda_function.py", code), ("main.py", "def main(x): ...")]);
    let flags = ["--timeout", "20", "--memory", "256M", "--set", "AWS_REGION=eu-west-3"];
    let said = deployed(&instance, "told", &path, &flags);
    assert!(said.contains("handler lambda_function.lambda_handler"), "{said}");
    let answer = instance.invoke("told", &json!({ "key": ["value", 1.5, null] }));
    let told = &answer["result"];
    assert_eq!(told["event"], json!({ "key": ["value", 1.5, null] }), "{answer}");
    assert!(answer["logs"].as_str().unwrap().contains("logged"), "{answer}");
    let context = &told["context"];
    assert_eq!(context["function_name"], "told");
    assert_eq!(context["function_version"], "1");
    assert_eq!(context["memory_limit_in_mb"], "256");
    assert_eq!(context["aws_request_id"], answer["request_id"]);
    assert_eq!(context["log_group_name"], "/aws/lambda/told");
    let arn = "arn:aws:lambda:eu-west-3:000000000000:function:told";
    assert_eq!(context["invoked_function_arn"], arn);
    assert_eq!((&context["tenant_id"], &context["client_context"]), (&json!(null), &json!(null)));
    assert_eq!(told["identity"], json!([null, null]));
    let remaining = told["remaining"].as_u64().unwrap();
    assert!((1..=20_000).contains(&remaining), "{remaining}");
    let variables = &told["variables"];
    for (name, value) in [
        ("AWS_LAMBDA_FUNCTION_NAME", "told"),
        ("AWS_LAMBDA_FUNCTION_VERSION", "1"),
        ("AWS_LAMBDA_FUNCTION_MEMORY_SIZE", "256"),
        ("AWS_LAMBDA_LOG_GROUP_NAME", "/aws/lambda/told"),
        ("_HANDLER", "lambda_function.lambda_handler"),
        ("LAMBDA_TASK_ROOT", told["cwd"].as_str().unwrap()),
    ] {
        assert_eq!(variables[name], value, "{name}");
    }
    let stream = context["log_stream_name"].as_str().unwrap();
    assert_eq!(variables["AWS_LAMBDA_LOG_STREAM_NAME"], stream);
    let year = 1970 + SystemTime::now().duration_since(UNIX_EPOCH).unwrap().as_secs() / 31_556_952;
    assert!(stream.starts_with(&format!("{year}/")) && stream.contains("/[1]"), "{stream}");
    // Another process writes another stream.
    instance.ok(&["evict", "told"]);
    let other = instance.invoke("told", &json!({}));
    assert_ne!(other["result"]["context"]["log_stream_name"], stream, "{other}");
}

fn asynchronous_handlers_share_a_loop() {
    let instance = shared();
    let code = "
import asyncio
import contextvars

early = asyncio.Queue()
loops = []
mark = contextvars.ContextVar('mark', default=0)

async def ticking():
    while True:
        await asyncio.sleep(0)
        early.put_nowait('tick')
        await asyncio.sleep(1000)

async def handler(event, context):
    loop = asyncio.get_running_loop()
    loops.append(loop)
    if len(loops) == 1:
        loop.ticking = loop.create_task(ticking())
        ticked = await early.get()
    else:
        ticked = not loop.ticking.done()
    before = mark.get()
    mark.set(1)
    return [event, all(one is loop for one in loops), len(loops), ticked, before]
";
    instance.deploy("awaited", code, &[]);
    let first = instance.invoke("awaited", &json!("a"));
    assert_eq!(first["result"], json!(["a", true, 1, "tick", 0]), "{first}");
    let second = instance.invoke("awaited", &json!("b"));
    assert_eq!(second["result"], json!(["b", true, 2, true, 0]), "{second}");
    let code = "
import sys

async def handler(event):
    if event == 'exit':
        sys.exit(3)
    return event
";
    instance.deploy("awaited", code, &[]);
    let failed = instance.invoke("awaited", &json!("exit"));
    assert_eq!(failed["error"]["errorType"], "SystemExit", "{failed}");
    let after = instance.invoke("awaited", &json!("on"));
    assert_eq!((&after["result"], &after["tier"]), (&json!("on"), &json!("paused")), "{after}");
}

fn generators_are_collected() {
    let instance = shared();
    let code = "
import asyncio

def counted(event):
    for n in range(event):
        yield {'n': n}

async def awaited(event, context):
    for n in range(event):
        await asyncio.sleep(0)
        yield n
    if event == 3:
        raise ValueError('after three')
";
    let path = folder(&instance, "yielding", &[("parts.py", code)]);
    deployed(&instance, "counted", &path, &["--handler", "parts.counted"]);
    deployed(&instance, "awaited-parts", &path, &["--handler", "parts.awaited"]);
    let counted = instance.invoke("counted", &json!(2));
    assert_eq!(counted["result"], json!([{ "n": 0 }, { "n": 1 }]), "{counted}");
    assert_eq!(instance.invoke("awaited-parts", &json!(2))["result"], json!([0, 1]));
    let failed = instance.invoke("awaited-parts", &json!(3));
    assert_eq!(failed["error"]["errorMessage"], "after three", "{failed}");
}

fn handlers_come_in_many_forms() {
    let instance = shared();
    let code = "
import functools

def decorated(function):
    @functools.wraps(function)
    def wrapper(*args, **kwargs):
        return ['wrapped', function(*args, **kwargs)]
    return wrapper

@decorated
def one(event): return event

@decorated
def two(event, context): return context.function_name

class Handler:
    def __call__(self, event, context): return ['called', event]
    def method(self, event): return ['method', event]

instance = Handler()
method = instance.method
partial = functools.partial(two)
later = lambda event: (lambda: two_later(event))()
async def two_later(event): return ['later', event]
";
    let path = folder(&instance, "forms", &[("inner/forms.py", code)]);
    for (name, expected) in [
        ("one", json!(["wrapped", 1])),
        ("two", json!(["wrapped", "form"])),
        ("instance", json!(["called", 1])),
        ("method", json!(["method", 1])),
        ("partial", json!(["wrapped", "form"])),
        ("later", json!(["later", 1])),
    ] {
        // As AWS writes a module in a folder.
        let handler = format!("inner/forms.{name}");
        deployed(&instance, "form", &path, &["--handler", &handler]);
        let answer = instance.invoke("form", &json!(1));
        assert_eq!(answer["result"], expected, "{name}: {answer}");
    }
}

fn a_folder_may_have_several_functions() {
    let instance = shared();
    let files = [
        ("orders.py", "from shared.money import euros\ndef place(event): return euros(event)\n"),
        ("stock.py", "import shared.money\ndef count(event): return [shared.money.euros(event)]\n"),
        ("shared/__init__.py", ""),
        ("shared/money.py", "def euros(cents): return f'{cents / 100:.2f} EUR'\n"),
    ];
    let path = folder(&instance, "several", &files);
    refused(&deploy(&instance, "orders", &path, &[]), "no handler found");
    deployed(&instance, "orders", &path, &["--handler", "orders.place"]);
    deployed(&instance, "stock", &path, &["--handler", "stock.count"]);
    assert_eq!(instance.invoke("orders", &json!(250))["result"], "2.50 EUR");
    assert_eq!(instance.invoke("stock", &json!(99))["result"], json!(["0.99 EUR"]));
    // Each is a function of its own.
    instance.ok(&["functions", "rm", "orders"]);
    assert_eq!(instance.invoke("stock", &json!(1))["result"], json!(["0.01 EUR"]));
}

fn what_is_ambiguous_is_told() {
    let instance = shared();
    let files = [
        ("orders.py", "def handler(event): ...\n"),
        ("stock.py", "handler = print\n"),
        ("web.py", "app = object()\n"),
    ];
    let path = folder(&instance, "ambiguous", &files);
    let output = deploy(&instance, "ambiguous", &path, &[]);
    refused(&output, "orders.handler, stock.handler, web.app; name one with --handler");
    assert_eq!(instance.call(&["functions", "show", "ambiguous"]).code, 4);
}
