"""The fields of the language with their kinds and meanings, as the JSON Schema and the editors show them.

A field is ``name: (kind, meaning)``; kinds are definitions of the schema, or words separated by ``|``.
"""

from __future__ import annotations

from dataclasses import dataclass

from tornflow.model.status import Category, Pattern

Fields = dict[str, tuple[str, str]]


@dataclass(frozen=True, slots=True)
class TaskFields:
    meaning: str
    fields: Fields
    required: tuple[str, ...] = ()


TOP: Fields = {
    "version": ("text", "A label for people; nothing reads it."),
    "workspace": ("rootName", "Business id: letters and digits, at most 100."),
    "namespace": ("text", "Legacy name of workspace; counts when that is blank."),
    "dagName": ("rootName", "Name of the flow: letters and digits, at most 100."),
    "service": ("text", "Legacy name of dagName; counts when that is blank."),
    "type": ("flow|resource", "flow: tasks that run; resource: a library of resource objects."),
    "inputSchema": ("text", "JSON text that describes the context of a submission; shown, never enforced."),
    "timeline": ("timeline", "timeoutInSeconds limits the whole flow; a path reads the submitted $.context."),
    "timer": ("timeline", "Another name of timeline."),
    "defaultContext": ("textMap", "Context to start with; a submitted key takes the place of its default."),
    "commonMapping": ("commonMappings", "Lists of mapping rules by name, for reference."),
    "tasks": ("tasks", "The steps; all without a predecessor start at once."),
    "output": ("free", "Result by key: makes a last task endTask that stores it in the context."),
    "resources": ("resources", "Resource objects, for resource://name."),
    "callback": ("callback", "Whom to call when the flow has ended."),
    "callback_config": ("callback", "Another name of callback."),
    "callbackConfig": ("callback", "Another name of callback."),
    "end_task_name": ("text", "Written by the server."),
}

COMMON: Fields = {
    "name": ("name", "Letters and digits, at most 100; unique in the whole flow."),
    "title": ("text", "For people."),
    "description": ("text", "For people."),
    "category": ("|".join(Category), "What kind of task it is."),
    "next": ("text", "Tasks of the same list that wait for this one, separated by commas without blanks."),
    "tolerance": ("flag", "true: a failure ends the task as SKIPPED, and what follows runs. Default false."),
    "inputMappings": ("mappings", "From the context to the input, right before the task runs."),
    "outputMappings": ("mappings", "From the output to the context, when the task has ended."),
    "progress": ("progress", "How much of the flow this task is."),
    "degrade": ("degrade", "Leave this task or those behind it out."),
    "timeline": ("timeline", "Timeout of the task, or when it may start."),
    "keyCallback": ("flag", "Key-path mode; no effect in flows of this server alone."),
    "keyExp": ("text", "Key-path mode; stored, no effect."),
    "parameters": ("free", "function: entries of the input that no mapping has written, added when it is sent."),
    "templateId": ("text", "For people and editors."),
    "input": ("free", "Shorthand for inputMappings, at the top level only: key -> constant, path or mapping rule."),
    "inputType": ("text", "stream: may start when a predecessor with outputType: stream has started."),
    "outputType": ("text", "stream or block, the default."),
}

FIELDS: dict[str, Fields] = {
    "mapping": {
        "reference": ("text", "Name of a common mapping that stands here; the rest of the rule is ignored."),
        "tolerance": ("flag", "false: an error of this rule fails the task. Default true."),
        "source": ("text", "A path that starts with $, or a constant as text."),
        "transform": ("text", "A script over source, context, input and output; see docs/expressions.md."),
        "target": ("text", "Where to write: $.input.name in inputMappings, $.context.name in outputMappings."),
        "variable": ("text", "progress.args: the name for the calculation."),
    },
    "timeline": {
        "timeoutInSeconds": ("text", "A whole number above 0, or a path."),
        "skipOnTimeout": ("text", "suspense with tolerance: true ends it as SKIPPED after the timeout."),
        "suspenseIntervalSeconds": ("text", "Wait that long before the task runs."),
        "suspenseTimestamp": ("text", "Wait until then before the task runs: milliseconds since 1970."),
    },
    "progress": {
        "weight": ("number", "Default 1."),
        "calculation": ("text", "A script over params and taskRunningTimeInMillis that gives the done part."),
        "args": ("mappings", "Rules with source and variable: what params holds."),
    },
    "degrade": {
        "current": ("flag", "true: the task is SKIPPED without running."),
        "followings": ("flag", "true: what is only reachable through this task is SKIPPED."),
    },
    "retry": {
        "maxRetryTimes": ("number", "How often to try again. Default 0."),
        "intervalInSeconds": ("number", "Pause before the next try. Default 0."),
        "multiplier": ("number", "The pause is interval x multiplier^attempts so far. Default 1."),
        "conditions": ("texts", "Try again only if any of them holds over $.output."),
    },
    "callback": {
        "resourceName": ("text", "http://host/path."),
        "fullDAGInfo": ("flag", "true: send the state of all tasks along."),
        "fullContext": ("flag", "true: send the final context along."),
        "inputMappings": ("mappings", "From the final context to the request."),
    },
    "switchCase": {
        "condition": ("text", "A path over $.input; default: when no other case holds."),
        "next": ("text", "Tasks that run when it holds, separated by commas."),
        "break": ("flag", "true: no later case is looked at."),
    },
    "branch": {
        "condition": ("text", "A path over $.input; every branch whose condition holds runs."),
        "tasks": ("tasks", "The tasks of the branch."),
    },
    "iterationMapping": {
        "collection": ("text", "The list, a path that starts with $.input."),
        "item": ("text", "Key of the element in the context of its group."),
        "index": ("text", "Key of the index, from 0."),
        "identity": ("text", "Name of the group for monitoring, such as $.iteration.element.id."),
    },
    "synchronization": {
        "conditions": ("texts", "The limit holds if all of them hold over $.input."),
        "maxConcurrency": ("text", "Groups at a time: a number, or a path below $.input."),
    },
}

RESOURCE: Fields = {
    "name": ("text", "For resource://name."),
    "category": ("text", "Decides which plug-in serves it."),
    "input_mappings": ("mappings", "Mapping rules of the resource."),
}

TASK_FIELDS: dict[Category, TaskFields] = {
    Category.FUNCTION: TaskFields(
        "Calls an HTTP executor, a Python callable, another flow or what a plug-in serves.",
        {
            "pattern": ("|".join(Pattern), "How the task is completed."),
            "resourceName": ("text", "protocol://rest, such as http://host/path or rillflow://workspace:dagName."),
            "resourceProtocol": ("text", "Chooses the task type instead of the protocol in resourceName."),
            "resource": ("resource", "A resource object in place of resourceName."),
            "requestType": ("text", "HTTP method. Default POST."),
            "successConditions": ("texts", "All must hold over $.output for success."),
            "failConditions": ("texts", "All holding over $.output is failure; ignored beside successConditions."),
            "retry": ("retry", "Try again after a failure."),
        },
        ("pattern",),
    ),
    Category.PASS: TaskFields("Does nothing but map: its input is its output.", {}),
    Category.RETURN: TaskFields(
        "If all conditions hold, what hangs only on this task is skipped.",
        {"conditions": ("texts", "Paths over $.input, all must hold; an empty list always holds.")},
    ),
    Category.SWITCH: TaskFields(
        "Chooses which of its successors run.", {"switches": ("switches", "The cases, in order.")}, ("switches",)
    ),
    Category.CHOICE: TaskFields(
        "Runs the tasks of every branch whose condition holds.",
        {"choices": ("choices", "The branches.")},
        ("choices",),
    ),
    Category.FOREACH: TaskFields(
        "Runs its tasks once per element of a list.",
        {
            "iterationMapping": ("iterationMapping", "What to loop over."),
            "synchronization": ("synchronization", "How many groups run at a time."),
            "tasks": ("someTasks", "The tasks of a group."),
        },
        ("iterationMapping", "tasks"),
    ),
    Category.SUSPENSE: TaskFields(
        "Waits until its conditions hold, an event comes or somebody wakes it.",
        {
            "conditions": ("texts", "Paths over $.input; all must hold to go on."),
            "interruptions": ("texts", "Paths over $.input; any that holds fails the task."),
            "event": ("event", "Name of an external event that wakes it, or a list of names."),
        },
    ),
}
