//! Answers come from the process and the request that were asked, whatever a handler forks, raises,
//! returns, patches or leaves set. The next call is not affected.

use std::thread;

use serde_json::{Value, json};

use crate::harness::{Instance, Options};
use crate::tests;

tests!(
    what_a_handler_forks_answers_nobody,
    what_a_thread_or_a_task_forks_answers_nobody,
    what_an_import_forks_answers_nobody,
    what_is_left_running_prints_into_no_later_call,
    what_a_child_ends_like_is_what_a_script_would,
    errors_of_any_text_are_told_and_end_nothing,
    what_cannot_be_told_fails_with_a_reason,
    what_is_patched_does_not_reach_the_runtime,
    a_call_without_a_thread_fails_alone,
    signals_are_handled_while_nothing_is_asked,
    what_is_left_set_strikes_no_later_call,
    only_what_is_named_is_imported,
);

/// Executes the code in the event as if it were the handler's own.
const EXECUTES: &str = "
import os, sys, time

def handler(event):
    names = dict(event=event, os=os, sys=sys, time=time)
    exec('def f():\\n' + '\\n'.join('    ' + line for line in event['code'].splitlines()), names)
    return names['f']()
";

fn executes(instance: &Instance, name: &str, flags: &[&str]) {
    instance.deploy(name, EXECUTES, flags);
}

fn run(instance: &Instance, name: &str, code: &str) -> Value {
    instance.invoke(name, &json!({ "code": code }))
}

fn serves(instance: &Instance, name: &str, after: &str) -> Value {
    let answer = run(instance, name, "return 'well'");
    assert_eq!(answer["result"], "well", "after {after}: {answer}");
    answer
}

fn what_a_handler_forks_answers_nobody() {
    let instance = Instance::start(&Options::default());
    executes(&instance, "forking", &[]);
    let children = [
        "if os.fork() == 0: return 'child'\nreturn 'parent'",
        "if os.fork() == 0: raise ValueError('child')\nreturn 'parent'",
        "if os.fork() == 0: raise SystemExit(3)\nreturn 'parent'",
        "if os.fork() == 0: raise KeyboardInterrupt\nreturn 'parent'",
        "if os.fork() == 0: time.sleep(0.2)\nreturn 'parent' if os.getpid() == me else 'child'",
        "if os.fork() == 0: os.fork()\nreturn 'parent' if os.getpid() == me else 'child'",
        "def g():\n  os.fork()\n  yield 'parent' if os.getpid() == me else 'child'\nreturn list(g())[0]",
        "def g():\n  os.fork()\n  yield os.getpid() == me\nreturn g()",
        "async def a():\n  os.fork()\n  return 'parent' if os.getpid() == me else 'child'\nreturn a()",
        "class Forks(dict):\n  def items(self):\n    os.fork()\n    return [('parent', os.getpid() == me)]\nreturn Forks(a=1)",
        "class Forks:\n  def __del__(self): os.fork()\na = Forks()\nreturn 'parent'",
        "import multiprocessing as m\np = m.get_context('fork').Process(target=print, args=['hello'])\np.start()\np.join()\nreturn 'parent'",
        "import ctypes\nctypes.CDLL(None).fork()\nreturn 'parent' if os.getpid() == me else 'child'",
        "if os.fork() == 0:\n  os.write(3, b'\\x04\\0\\0\\x001{}\\n')\n  return 'child'\ntime.sleep(0.2)\nreturn 'parent'",
    ];
    for code in children {
        let code = format!("me = os.getpid()\n{code}");
        let answer = run(&instance, "forking", &code);
        let told = answer["result"].to_string();
        assert!(told.contains("parent") || told == "[true]", "{code}: {answer}");
        for n in 0..2 {
            let waits = format!("time.sleep(0.1)\nreturn {n}");
            let answer = run(&instance, "forking", &waits);
            assert_eq!(
                (&answer["result"], &answer["tier"]),
                (&json!(n), &json!("paused")),
                "{code}"
            );
        }
    }
    let sandboxes = instance.status()["sandboxes"].clone();
    assert_eq!(sandboxes.as_array().unwrap().len(), 1, "{sandboxes}");
}

fn what_a_thread_or_a_task_forks_answers_nobody() {
    let instance = Instance::start(&Options::default());
    let code = "
import os, sys, time
me = os.getpid()

def handler(event):
    print('asked')
    if event == 'fork' and os.fork() == 0:
        print('printed by the child')
        return 'child'
    if event == 'exit' and os.fork() == 0:
        sys.exit(4)
    if event == 'wait' and (pid := os.fork()):
        return os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1])
    if event == 'raise' and (pid := os.fork()):
        return os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1])
    if os.getpid() != me:
        raise KeyError('of the child')
    time.sleep(0.1)
    return event
";
    let task = format!("{}\n", code.replace("def handler", "async def handler"));
    for (name, code) in [("threads", code), ("tasks", task.as_str())] {
        instance.deploy(name, code, &["--concurrency", "8", "--sandboxes", "1"]);
        for _ in 0..2 {
            thread::scope(|scope| {
                for event in ["fork", "a", "exit", "b", "wait", "c", "raise", "d"] {
                    let instance = &instance;
                    scope.spawn(move || {
                        let answer = instance.invoke(name, &json!(event));
                        let expected = match event {
                            "wait" | "raise" => json!(1),
                            other => json!(other),
                        };
                        assert_eq!(answer["result"], expected, "{name}, {event}: {answer}");
                    });
                }
            });
        }
        let answer = instance.invoke(name, &json!("last"));
        assert_eq!((&answer["result"], &answer["logs"]), (&json!("last"), &json!("asked\n")));
        let sandboxes = instance.status()["sandboxes"].clone();
        let of = |one: &&Value| one["function"] == name;
        assert_eq!(sandboxes.as_array().unwrap().iter().filter(of).count(), 1, "{sandboxes}");
    }
}

fn what_an_import_forks_answers_nobody() {
    let instance = Instance::start(&Options::default());
    for (name, child) in [("falls", "pass"), ("raises", "raise ValueError('child')")] {
        let code = format!(
            "import os\nme = os.getpid()\nif os.fork() == 0:\n    {child}\n\ndef handler(event):\n    return [event, os.getpid() == me]\n"
        );
        for concurrency in ["1", "4"] {
            instance.deploy(name, &code, &["--concurrency", concurrency]);
            for n in 0..3 {
                let answer = instance.invoke(name, &json!(n));
                assert_eq!(answer["result"], json!([n, true]), "{name}: {answer}");
            }
        }
    }
}

fn what_is_left_running_prints_into_no_later_call() {
    let instance = Instance::start(&Options::default());
    let leave = [
        "if os.fork() == 0:\n  time.sleep(0.3)\n  print('stray')\n  os._exit(0)",
        "if os.fork() == 0:\n  time.sleep(0.3)\n  raise ValueError('stray')",
        "import subprocess\nsubprocess.Popen('sleep 0.3; echo stray', shell=True)",
        "import subprocess\nsubprocess.run('(sleep 0.3; echo stray) &', shell=True)",
        "import threading\nthreading.Timer(0.3, os.system, ['echo stray']).start() if False else None",
    ];
    for (name, flags) in [("alone", &[][..]), ("several", &["--concurrency", "4"][..])] {
        executes(&instance, name, flags);
        for code in leave {
            run(&instance, name, &format!("{code}\nreturn 1"));
            for _ in 0..2 {
                let code = "print('own')\nos.system('echo child')\ntime.sleep(0.5)\nreturn 1";
                let answer = run(&instance, name, code);
                assert_eq!(answer["logs"], "own\nchild\n", "{code}: {answer}");
            }
        }
        let log = instance.ok(&["logs", name]);
        assert!(log.contains("stray"), "{log}");
        // It was given another only where it had to be.
        let answer = run(&instance, name, "os.system('echo child')\nreturn 2");
        assert_eq!(answer["logs"], "child\n");
    }
}

fn what_a_child_ends_like_is_what_a_script_would() {
    let instance = Instance::start(&Options::default());
    executes(&instance, "ends", &[]);
    let ends = [
        ("return 1", 0, ""),
        ("raise SystemExit", 0, ""),
        ("raise SystemExit(7)", 7, ""),
        ("raise SystemExit('why')", 1, "why\n"),
        ("raise ValueError('why')", 1, "ValueError: why\n"),
        ("raise KeyboardInterrupt", -2, "KeyboardInterrupt\n"),
        ("os._exit(9)", 9, ""),
    ];
    for (code, status, says) in ends {
        let code = format!(
            "import atexit\nif pid := os.fork():\n  return os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1])\natexit.register(print, 'at exit')\n{code}"
        );
        let answer = run(&instance, "ends", &code);
        assert_eq!(answer["result"], status, "{code}: {answer}");
        let logs = answer["logs"].as_str().unwrap();
        assert!(logs.contains(says) && !logs.contains("pipsqueak_runtime"), "{code}: {logs}");
        assert_eq!(logs.contains("at exit"), !code.contains("_exit(9)"), "{code}: {logs}");
        serves(&instance, "ends", &code);
    }
}

fn errors_of_any_text_are_told_and_end_nothing() {
    let instance = Instance::start(&Options::default());
    let errors = [
        ("raise ValueError('\\udc80 \\ud800')", "ValueError", "\\udc80 \\ud800"),
        ("raise ValueError('x' * (8 << 20))", "ValueError", "more characters]"),
        ("raise ValueError('\\U0001f600' * 100000)", "ValueError", "more characters]"),
        ("raise ValueError('\\udcff' * 100000)", "ValueError", "more characters]"),
        ("raise ValueError('\\0\\x1b[31m')", "ValueError", "\0\u{1b}[31m"),
        (
            "class E(Exception):\n  def __str__(self): raise KeyError('no')\nraise E",
            "E",
            "KeyError",
        ),
        ("class E(Exception):\n  def __str__(self): return 5\nraise E", "E", "TypeError"),
        (
            "class E(Exception):\n  def __str__(self): return str(self)\nraise E",
            "E",
            "RecursionError",
        ),
        ("class E(Exception):\n  def __str__(self): raise SystemExit\nraise E", "E", "SystemExit"),
        (
            "class S(str):\n  def __add__(self, o): raise KeyError\n  __getitem__ = encode = __len__ = __radd__ = __add__\nclass E(Exception):\n  def __str__(self): return S('well')\nraise E",
            "E",
            "well",
        ),
        (
            "class M(type):\n  __name__ = property(lambda self: 1/0)\nclass E(Exception, metaclass=M): pass\nraise E('x')",
            "E",
            "x",
        ),
        ("raise type('E' * 100000, (Exception,), {})", "EEEE", ""),
        (
            "class E(Exception):\n  __class__ = property(lambda self: 1/0)\n  __traceback__ = property(lambda self: 1/0)\nraise E('x')",
            "E",
            "x",
        ),
        ("def f(): f()\nf()", "RecursionError", "recursion"),
        (
            "sys.setrecursionlimit(20000)\ndef f(n):\n  if n: f(n - 1)\n  raise ValueError('deep')\nf(5000)",
            "ValueError",
            "deep",
        ),
        (
            "e = None\nfor n in range(3000):\n  n = ValueError(n)\n  n.__cause__ = e\n  e = n\nraise e",
            "ValueError",
            "2999",
        ),
        ("raise SystemExit('odd')", "SystemExit", "odd"),
        ("raise SystemExit(1 << 70)", "SystemExit", "1180591620717411303424"),
        ("raise GeneratorExit", "GeneratorExit", ""),
        ("raise KeyboardInterrupt", "KeyboardInterrupt", ""),
        ("raise StopIteration(5)", "StopIteration", "5"),
        ("exec(compile('raise ValueError(1)', '\\udc80\\n' * 50000, 'exec'))", "ValueError", "1"),
        (
            "import linecache\nlinecache.checkcache = linecache.getline = linecache.getlines = None\nraise ValueError('x')",
            "ValueError",
            "x",
        ),
        (
            "import traceback\ntraceback.extract_tb = traceback.format_list = None\nraise ValueError('x')",
            "ValueError",
            "x",
        ),
    ];
    for (name, flags) in [("alone", &[][..]), ("several", &["--concurrency", "4"][..])] {
        executes(&instance, name, flags);
        for (code, kind, text) in errors {
            let answer = run(&instance, name, code);
            let error = &answer["error"];
            assert!(
                error["errorType"].as_str().unwrap_or("").starts_with(kind),
                "{code}: {answer}"
            );
            assert!(error["errorMessage"].as_str().unwrap().contains(text), "{code}: {answer}");
            assert!(answer.to_string().len() < 300_000, "{code}");
            assert_eq!(serves(&instance, name, code)["tier"], "paused", "{code}");
        }
    }
}

fn what_cannot_be_told_fails_with_a_reason() {
    let instance = Instance::start(&Options::default());
    let odd = "class D(dict):\n  def items(self): raise";
    let odd = [
        (format!("{odd} ZeroDivisionError('why')\nreturn D(a=1)"), "why"),
        (format!("{odd} SystemExit('why')\nreturn [D(a=1)]"), "why"),
        (format!("{odd} ValueError('\\udc80')\nreturn [D(a=1)]"), "udc80"),
        ("class I(int):\n  def __repr__(self): return 5\nclass F(float): __repr__ = None\nreturn {F(1): 1}".into(), ""),
        ("return object()".into(), "not JSON serializable"),
        ("return float('nan')".into(), "JSON"),
        ("a = []\na.append(a)\nreturn a".into(), "ircular"),
        ("a = []\nfor _ in range(100000): a = [a]\nreturn a".into(), "ecursion"),
        ("del sys.stdout\nreturn 'well'".into(), ""),
        ("sys.stdout = sys.stderr = None\nreturn 'well'".into(), ""),
        ("sys.stdout.close()\nsys.stderr.close()\nreturn 'well'".into(), ""),
        ("class S:\n  def flush(self): raise KeyError\n  write = print\nsys.stdout = S()\nreturn 'well'".into(), ""),
        ("class S:\n  def flush(self): raise SystemExit\n  write = print\nsys.stderr = S()\nreturn 'well'".into(), ""),
        ("os.close(1)\nos.close(2)\nreturn 'well'".into(), ""),
        ("sys.modules = None\nreturn 'well'".into(), ""),
        ("sys.modules[5] = sys.modules['x' * 100000] = sys.modules['\\udc80'] = 5\nreturn 'well'".into(), ""),
    ];
    for (name, flags) in [("alone", &[][..]), ("several", &["--concurrency", "4"][..])] {
        for (code, says) in &odd {
            // Some of them leave a process that prints nothing any more.
            executes(&instance, name, flags);
            let answer = run(&instance, name, code);
            if code.contains("'well'") {
                assert_eq!(answer["result"], "well", "{code}: {answer}");
            } else if answer["error"].is_object() {
                assert_eq!(
                    answer["error"]["errorType"], "Runtime.MarshalError",
                    "{code}: {answer}"
                );
                let told = answer["error"]["errorMessage"].as_str().unwrap();
                assert!(told.contains(says), "{code}: {answer}");
            }
            assert_eq!(serves(&instance, name, code)["tier"], "paused", "{code}");
        }
    }
}

fn what_is_patched_does_not_reach_the_runtime() {
    let instance = Instance::start(&Options::default());
    let patches = [
        "import time\nfor name in dir(time):\n  if callable(getattr(time, name)): setattr(time, name, None)",
        "import time\nreal = {id(getattr(time, n)) for n in dir(time) if callable(getattr(time, n))}\nfor m in list(sys.modules.values()):\n  for n, v in list(vars(m).items()):\n    if id(v) in real: setattr(m, n, lambda *_: -10**30)",
        "import json\njson.loads = json.dumps = json.JSONEncoder = json.JSONDecoder = None\njson.encoder.JSONEncoder.encode = json.decoder.JSONDecoder.decode = None",
        "import threading, _thread, queue\nfor m in threading, _thread, queue:\n  for n in 'Thread', 'start_new_thread', '_start_new_thread', 'Lock', 'allocate_lock', 'RLock', 'Condition', 'SimpleQueue', 'current_thread', '_allocate_lock', '_start_joinable_thread':\n    if hasattr(m, n): setattr(m, n, None)",
        "import socket, os, io, builtins\nsocket.socket = io.open = builtins.open = None\nfor n in 'write', 'getpid', '_exit', 'stat', 'close', 'dup2', 'listdir': setattr(os, n, None)",
        "import builtins\nfor n in 'len', 'type', 'isinstance', 'getattr', 'str', 'dict', 'list', 'print', 'hasattr', 'zip', 'next', 'iter', 'BaseException', 'Exception', '__import__': setattr(builtins, n, None)",
        "import contextvars\ncontextvars.copy_context = None",
        "import traceback\nfor n in list(vars(traceback)): setattr(traceback, n, None)",
    ];
    for (name, flags) in [("alone", &[][..]), ("several", &["--concurrency", "4"][..])] {
        for code in patches {
            executes(&instance, name, flags);
            let answer = run(&instance, name, &format!("{code}\nreturn 'well'"));
            assert_eq!(answer["result"], "well", "{code}: {answer}");
            // More of them at once than there are threads yet. They raise what they have no built-in for.
            thread::scope(|scope| {
                for _ in 0..3 {
                    scope.spawn(|| {
                        let answer = instance.invoke(name, &json!({}));
                        let kind = answer["error"]["errorType"].as_str().unwrap();
                        assert!(["KeyError", "TypeError"].contains(&kind), "{code}: {answer}");
                        let run_us = answer["run_us"].as_u64().unwrap();
                        assert!(run_us < 1_000_000, "{code}: {answer}");
                    });
                }
            });
        }
    }
}

fn a_call_without_a_thread_fails_alone() {
    let instance = Instance::start(&Options::default());
    let code = "
import os, resource, threading

held = threading.Event()
most = resource.getrlimit(resource.RLIMIT_NPROC)[1]

def handler(event):
    if event == 'hold':
        while not os.path.exists('/function/release'):
            held.wait(0.01)
        return 'held'
    if event == 'limit':
        resource.setrlimit(resource.RLIMIT_NPROC, (1, most))
    if event == 'unlimit':
        resource.setrlimit(resource.RLIMIT_NPROC, (most, most))
    return event
";
    instance.deploy("threads", code, &["--concurrency", "8", "--sandboxes", "1"]);
    assert_eq!(instance.invoke("threads", &json!("limit"))["result"], "limit");
    thread::scope(|scope| {
        let begin = || scope.spawn(|| instance.invoke("threads", &json!("hold")));
        let mut held = begin();
        let failed = loop {
            let answer = instance.invoke("threads", &json!("another"));
            if !answer["error"].is_null() {
                break answer;
            }
            if held.is_finished() {
                // It came while the other had the thread, and failed for want of one.
                held = begin();
            }
        };
        assert_eq!(failed["error"]["errorType"], "RuntimeError", "{failed}");
        let code = instance.state().join("functions/threads/code-1/release");
        std::fs::write(code, "").unwrap();
        assert_eq!(held.join().unwrap()["result"], "held");
    });
    assert_eq!(instance.invoke("threads", &json!("unlimit"))["result"], "unlimit");
    assert_eq!(instance.status()["sandboxes"].as_array().unwrap().len(), 1);
}

fn signals_are_handled_while_nothing_is_asked() {
    let instance = Instance::start(&Options::default());
    let code = "
import os, signal, threading, time

heard = threading.Event()

def hear(number, frame):
    heard.set()
    if number == signal.SIGUSR2:
        raise ValueError('in vain')

signal.signal(signal.SIGUSR1, hear)
signal.signal(signal.SIGUSR2, hear)

def handler(event):
    heard.clear()
    os.kill(os.getpid(), getattr(signal, event))
    return heard.wait(20)
";
    instance.deploy("signals", code, &["--concurrency", "4", "--timeout", "30"]);
    for signal in ["SIGUSR1", "SIGUSR2", "SIGUSR1"] {
        let answer = instance.invoke("signals", &json!(signal));
        assert_eq!(answer["result"], true, "{signal}: {answer}");
    }
    assert_eq!(instance.status()["sandboxes"].as_array().unwrap().len(), 1);
}

fn what_is_left_set_strikes_no_later_call() {
    let instance = Instance::start(&Options::default());
    let left = [
        ("import signal\nsignal.setitimer(signal.ITIMER_REAL, 0.2)", "ITIMER_REAL"),
        (
            "import signal\nsignal.signal(signal.SIGALRM, lambda *_: 1 / 0)\nsignal.setitimer(signal.ITIMER_REAL, 0.2, 0.001)",
            "ITIMER_REAL",
        ),
        (
            "import signal\nsignal.signal(signal.SIGALRM, lambda *_: 1 / 0)\nsignal.alarm(1)",
            "ITIMER_REAL",
        ),
        ("import signal\nsignal.setitimer(signal.ITIMER_PROF, 0.2)", "ITIMER_PROF"),
        ("import faulthandler\nfaulthandler.dump_traceback_later(0.2, exit=True)", ""),
    ];
    for (name, flags) in [("alone", &[][..]), ("several", &["--concurrency", "4"][..])] {
        executes(&instance, name, flags);
        for (code, told) in left {
            if name == "several" && code.contains("signal.signal") {
                // Only the main thread may.
                continue;
            }
            let answer = run(&instance, name, &format!("{code}\nreturn 1"));
            assert_eq!(answer["result"], 1, "{code}: {answer}");
            assert!(answer["logs"].as_str().unwrap().contains(told), "{code}: {answer}");
            let busy = "end = time.monotonic() + 1.2\nwhile time.monotonic() < end: pass\nreturn 2";
            let answer = run(&instance, name, busy);
            assert_eq!(
                (&answer["result"], &answer["tier"]),
                (&json!(2), &json!("paused")),
                "{code}"
            );
            assert_eq!(answer["logs"], "", "{code}");
        }
    }
}

fn only_what_is_named_is_imported() {
    let instance = Instance::start(&Options::default());
    let folder = instance.scratch().join("package");
    std::fs::create_dir_all(folder.join("app")).unwrap();
    let own = "import sys\n__all__ = ['handler', 'broken']\ndef handler(event): return 'app.broken' in sys.modules\n";
    std::fs::write(folder.join("app/__init__.py"), own).unwrap();
    std::fs::write(folder.join("app/broken.py"), "raise ValueError('not asked for')\n").unwrap();
    instance.ok(&["deploy", "package", folder.to_str().unwrap(), "--handler", "app.handler"]);
    let answer = instance.invoke("package", &json!(1));
    assert_eq!(answer["result"], false, "{answer}");
}
