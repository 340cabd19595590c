/** What Kafka takes as a topic's name; `.` and `..` would be folders of its log. */
export const topicNameForm = /^(?!\.{1,2}$)[a-zA-Z0-9._-]{1,249}$/

/** Kafka takes any text as a group's name; ours stands in headers, keys of the configuration and metrics as well. */
export const groupNameForm = /^[a-zA-Z0-9._-]{1,128}$/
