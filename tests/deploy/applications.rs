//! HTTP applications of the usual frameworks, deployed as they are.

use std::process::Command;
use std::sync::{Arc, Once};

use serde_json::{Value, json};

use super::{deployed, folder};
use crate::harness::{Instance, shared};
use crate::tests;

tests!(
    flask_is_served,
    django_is_served_either_way,
    fastapi_is_served,
    starlette_is_served,
    what_is_no_request_is_refused,
    an_application_that_cannot_start_says_why,
);

/// The shared instance, with an environment `web` of all frameworks.
fn web() -> Arc<Instance> {
    static MADE: Once = Once::new();
    let instance = shared();
    MADE.call_once(|| {
        instance.ok(&["env", "add", "web", "flask", "django", "fastapi"]);
    });
    instance
}

/// A request in the payload format 2.0 of API Gateway.
fn request(method: &str, path: &str, query: &str, rest: &Value) -> Value {
    let mut event = json!({
        "version": "2.0",
        "rawPath": path,
        "rawQueryString": query,
        "headers": { "host": "example.org", "x-forwarded-proto": "https" },
        "requestContext": { "http": { "method": method, "path": path, "sourceIp": "192.0.2.1" } },
        "isBase64Encoded": false,
    });
    event.as_object_mut().unwrap().extend(rest.as_object().unwrap().clone());
    event
}

fn answer(instance: &Instance, function: &str, event: &Value) -> Value {
    let answer = instance.invoke(function, event);
    assert_eq!(answer["outcome"], "done", "{answer}");
    answer["result"].clone()
}

/// The body of an answer to a plain request.
fn body(instance: &Instance, function: &str, path: &str) -> String {
    let answer = answer(instance, function, &json!({ "path": path }));
    assert_eq!(answer["statusCode"], 200, "{answer}");
    answer["body"].as_str().unwrap().to_owned()
}

fn flask_is_served() {
    let instance = web();
    let code = "
import os
from flask import Flask, Response, request, session

app = Flask(__name__)
app.secret_key = 'key'

@app.route('/shop/<name>', methods=['GET', 'POST'])
def shop(name):
    told = [name, request.args.getlist('q'), request.get_data(as_text=True), request.remote_addr,
            request.url, request.cookies.get('c'), request.headers.get('X-Two')]
    answer = app.json.response(told)
    answer.set_cookie('one', '1')
    answer.set_cookie('two', '2')
    return answer

@app.route('/count')
def count():
    session['count'] = session.get('count', 0) + 1
    return str(session['count'])

@app.route('/bytes')
def stream():
    return Response((bytes([n]) for n in (255, 0, 254)), mimetype='application/octet-stream')

@app.route('/failing')
def failing():
    return 1 / 0
";
    let path = folder(&instance, "flask-shop", &[("app.py", code)]);
    let said = deployed(&instance, "flask-shop", &path, &["--env", "web"]);
    assert!(said.contains("handler app.app"), "{said}");
    let second = request(
        "POST",
        "/shop/k%C3%A4se",
        "q=1%202&q=3",
        &json!({
            "headers": { "host": "example.org", "x-forwarded-proto": "https", "x_two": "forged" },
            "body": "aMOk",
            "isBase64Encoded": true,
            "cookies": ["c=3", "d=4"],
        }),
    );
    let given = answer(&instance, "flask-shop", &second);
    let told: Value = serde_json::from_str(given["body"].as_str().unwrap()).unwrap();
    let url = "https://example.org/shop/käse?q=1+2&q=3";
    assert_eq!(told[0], "käse", "{told}");
    assert_eq!(told[1], json!(["1 2", "3"]));
    assert_eq!((&told[2], &told[3], &told[5]), (&json!("hä"), &json!("192.0.2.1"), &json!("3")));
    assert_eq!(told[6], json!(null));
    assert!(told[4] == url || told[4] == url.replace('+', "%20"), "{told}");
    assert_eq!(given["cookies"], json!(["one=1; Path=/", "two=2; Path=/"]));
    assert_eq!(given["headers"]["content-type"], "application/json");
    assert!(given.get("multiValueHeaders").is_none(), "{given}");

    let first = json!({
        "httpMethod": "GET",
        "path": "/shop/bread",
        "headers": { "Host": "example.org", "X-Two": "b" },
        "multiValueHeaders": { "Host": ["example.org"], "X-Two": ["a", "b"] },
        "queryStringParameters": { "q": "3" },
        "multiValueQueryStringParameters": { "q": ["1 2", "3"] },
        "requestContext": { "identity": { "sourceIp": "192.0.2.7" } },
        "body": null,
    });
    let given = answer(&instance, "flask-shop", &first);
    let told: Value = serde_json::from_str(given["body"].as_str().unwrap()).unwrap();
    assert_eq!((&told[1], &told[3]), (&json!(["1 2", "3"]), &json!("192.0.2.7")), "{told}");
    assert_eq!(told[6], "a,b");
    let cookies = &given["multiValueHeaders"]["set-cookie"];
    assert_eq!(cookies, &json!(["one=1; Path=/", "two=2; Path=/"]));

    let given = answer(&instance, "flask-shop", &json!({ "path": "/bytes" }));
    assert_eq!((&given["body"], &given["isBase64Encoded"]), (&json!("/wD+"), &json!(true)));
    let given = answer(&instance, "flask-shop", &json!({ "path": "/nowhere" }));
    assert_eq!(given["statusCode"], 404);
    let failed = instance.invoke("flask-shop", &json!({ "path": "/failing" }));
    assert_eq!(failed["result"]["statusCode"], 500, "{failed}");
    assert!(failed["logs"].as_str().unwrap().contains("ZeroDivisionError"), "{failed}");
    let begun = answer(&instance, "flask-shop", &json!({ "path": "/count" }));
    let cookie = begun["cookies"][0].as_str().unwrap().split(';').next().unwrap();
    let again = json!({ "path": "/count", "headers": { "Cookie": cookie } });
    assert_eq!(answer(&instance, "flask-shop", &again)["body"], "2");
}

fn django_is_served_either_way() {
    let instance = web();
    let path = instance.scratch().join("django-shop");
    std::fs::create_dir_all(&path).unwrap();
    let made = Command::new(instance.mount().join("envs/web/bin/python"))
        .args(["-m", "django", "startproject", "shop"])
        .arg(&path)
        .output()
        .unwrap();
    assert!(made.status.success(), "{made:?}");
    let urls = "
from django.http import JsonResponse, StreamingHttpResponse
from django.urls import path

def show(request, name):
    return JsonResponse({'name': name, 'q': request.GET.get('q'), 'kind': type(request).__name__})

def stream(request):
    return StreamingHttpResponse(str(n) for n in range(3))

urlpatterns = [path('show/<name>', show), path('stream', stream)]
";
    std::fs::write(path.join("shop/urls.py"), urls).unwrap();
    let said = deployed(&instance, "django-wsgi", &path, &["--env", "web"]);
    assert!(said.contains("handler shop.wsgi.application"), "{said}");
    let flags = ["--env", "web", "--handler", "shop.asgi.application"];
    deployed(&instance, "django-asgi", &path, &flags);
    for (function, kind) in [("django-wsgi", "WSGIRequest"), ("django-asgi", "ASGIRequest")] {
        let told = body(&instance, function, "/show/bread?q=1");
        let told: Value = serde_json::from_str(&told).unwrap();
        assert_eq!(told, json!({ "name": "bread", "q": "1", "kind": kind }));
        assert_eq!(body(&instance, function, "/stream"), "012");
    }
}

fn fastapi_is_served() {
    let instance = web();
    let code = "
import asyncio
import contextvars
from contextlib import asynccontextmanager

from fastapi import BackgroundTasks, FastAPI, Request
from fastapi.responses import StreamingResponse

begun, done = [], []
mark = contextvars.ContextVar('mark', default='none')

@asynccontextmanager
async def lifespan(app):
    begun.append(asyncio.get_running_loop())
    app.state.beat = asyncio.ensure_future(asyncio.sleep(1000))
    yield {'shared': 'state'}

app: FastAPI = FastAPI(lifespan=lifespan)

@app.get('/item/{number}')
async def item(number: int, request: Request):
    before = mark.get()
    mark.set('set')
    loop = asyncio.get_running_loop()
    alive = not app.state.beat.done()
    return [number, request.state.shared, len(begun), begun[0] is loop, alive, before]

@app.get('/threaded')
def threaded():
    return request_id()

@app.get('/event')
async def event(request: Request):
    return request.scope['aws.context'].function_name

@app.get('/stream')
async def stream():
    async def parts():
        for n in range(3):
            await asyncio.sleep(0)
            yield f'{n};'
    return StreamingResponse(parts())

@app.get('/later')
async def later(tasks: BackgroundTasks):
    tasks.add_task(done.append, 1)
    return len(done)

@app.get('/failing')
async def failing():
    raise RuntimeError('no good')

@app.websocket('/socket')
async def socket(websocket):
    await websocket.accept()

def request_id():
    return 'in a thread'
";
    let path = folder(&instance, "fast-shop", &[("main.py", code)]);
    let said = deployed(&instance, "fast-shop", &path, &["--env", "web"]);
    assert!(said.contains("handler main.app"), "{said}");
    // The second finds the process that the first has left.
    for number in [1, 2] {
        let told = body(&instance, "fast-shop", &format!("/item/{number}"));
        assert_eq!(told, format!("[{number},\"state\",1,true,true,\"none\"]"));
    }
    assert_eq!(body(&instance, "fast-shop", "/threaded"), "\"in a thread\"");
    assert_eq!(body(&instance, "fast-shop", "/event"), "\"fast-shop\"");
    assert_eq!(body(&instance, "fast-shop", "/stream"), "0;1;2;");
    assert_eq!(body(&instance, "fast-shop", "/later"), "0");
    assert_eq!(body(&instance, "fast-shop", "/later"), "1");
    let invalid = answer(&instance, "fast-shop", &json!({ "path": "/item/x" }));
    assert_eq!(invalid["statusCode"], 422, "{invalid}");
    let failed = instance.invoke("fast-shop", &json!({ "path": "/failing" }));
    assert_eq!(failed["result"]["statusCode"], 500, "{failed}");
    assert!(failed["logs"].as_str().unwrap().contains("RuntimeError: no good"), "{failed}");
    let upgrade = json!({ "headers": { "Connection": "Upgrade", "Upgrade": "websocket" } });
    let given = answer(&instance, "fast-shop", &request("GET", "/socket", "", &upgrade));
    assert_eq!(given["statusCode"], 426, "{given}");
    assert!(given["body"].as_str().unwrap().contains("websocket"), "{given}");
}

fn starlette_is_served() {
    let instance = web();
    let code = "
from starlette.applications import Starlette
from starlette.responses import PlainTextResponse
from starlette.routing import Route

async def echo(request):
    return PlainTextResponse(await request.body(), headers={'X-Path': request.url.path})

application = Starlette(routes=[Route('/{path:path}', echo, methods=['PUT'])])
";
    let path = folder(&instance, "star", &[("web.py", code)]);
    let said = deployed(&instance, "star", &path, &["--env", "web"]);
    assert!(said.contains("handler web.application"), "{said}");
    let event = json!({ "path": "/a/b", "method": "put", "body": "hi" });
    let given = answer(&instance, "star", &event);
    assert_eq!((&given["body"], &given["headers"]["x-path"]), (&json!("hi"), &json!("/a/b")));
}

fn what_is_no_request_is_refused() {
    let instance = shared();
    let code = "
def app(environ, start_response):
    write = start_response('200 Fine', [('Content-Type', 'text/plain')])
    write(environ['REQUEST_METHOD'].encode())
    return [b' ', environ['PATH_INFO'].encode('latin-1')]
";
    instance.deploy("plain", code, &["--handler", "plain.app"]);
    let websocket = json!({ "eventType": "CONNECT", "connectionId": "x", "routeKey": "$connect" });
    for (event, says) in [
        (json!({}), "this event has nothing"),
        (json!([1]), "this event is a list"),
        (json!({ "Records": [] }), "this event has Records"),
        (json!({ "path": "/", "body": 3 }), "its body is to be text"),
        (json!({ "path": "/", "body": "?", "isBase64Encoded": true }), "its body is not base64"),
        (json!({ "path": "/", "headers": 3 }), "headers of this event is no object"),
        (json!({ "requestContext": websocket }), "websocket"),
    ] {
        let answer = instance.invoke("plain", &event);
        assert_eq!(answer["error"]["errorType"], "Runtime.UnmarshalError", "{answer}");
        let message = answer["error"]["errorMessage"].as_str().unwrap();
        assert!(message.contains(says) && message.contains("{\"path\": \"/\"}"), "{message}");
    }
    // It can serve on.
    let given = instance.invoke("plain", &json!({ "path": "/%C3%A4" }));
    assert_eq!((&given["result"]["body"], &given["tier"]), (&json!("GET /ä"), &json!("paused")));
}

fn an_application_that_cannot_start_says_why() {
    let instance = shared();
    let code = "
async def app(scope, receive, send):
    if scope['type'] == 'lifespan':
        await receive()
        await send({'type': 'lifespan.startup.failed', 'message': 'no database'})
";
    instance.deploy("unable", code, &["--handler", "unable.app"]);
    let answer = instance.invoke("unable", &json!({ "path": "/" }));
    let message = answer["error"]["errorMessage"].as_str().unwrap();
    assert_eq!(message, "the application failed to start: no database", "{answer}");
}
