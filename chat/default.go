package chat

// builtin is a template for models that bring none.
type builtin struct {
	name   string
	tokens []string // special tokens by which a model that uses it is known
	source string
}

// builtins are tried in this order.
var builtins = []builtin{
	{"chatml", []string{"<|im_start|>", "<|im_end|>"}, `
{%- for message in messages %}
    {{- '<|im_start|>' + message.role + '\n' + message.content + '<|im_end|>\n' }}
{%- endfor %}
{%- if add_generation_prompt %}{{- '<|im_start|>assistant\n' }}{%- endif %}`},

	{"llama3", []string{"<|start_header_id|>", "<|end_header_id|>", "<|eot_id|>"}, `
{{- bos_token }}
{%- for message in messages %}
    {{- '<|start_header_id|>' + message.role + '<|end_header_id|>\n\n' + message.content | trim + '<|eot_id|>' }}
{%- endfor %}
{%- if add_generation_prompt %}{{- '<|start_header_id|>assistant<|end_header_id|>\n\n' }}{%- endif %}`},

	{"llama2", []string{"<s>", "</s>", "<0x0A>"}, `
{%- set ns = namespace(system='') %}
{%- for message in messages %}
    {%- if message.role == 'system' %}
        {%- if not loop.first %}{{ raise_exception('The system message must be the first') }}{% endif %}
        {%- set ns.system = '<<SYS>>\n' + message.content | trim + '\n<</SYS>>\n\n' %}
    {%- elif message.role == 'user' %}
        {{- bos_token ~ '[INST] ' + ns.system + message.content | trim + ' [/INST]' }}
        {%- set ns.system = '' %}
    {%- elif message.role == 'assistant' %}
        {{- ' ' + message.content | trim + ' ' ~ eos_token }}
    {%- else %}
        {{- raise_exception('The role ' + message.role + ' is not known') }}
    {%- endif %}
{%- endfor %}`},
}

// Default finds a template for a model that brings none, by the special tokens
// of its vocabulary: "chatml", "llama3" or "llama2". The tokens of Llama 2 are
// those of many a base model, so that its template is the last to be tried. has
// tells whether the vocabulary has a token; ok is false when none fits.
func Default(has func(token string) bool) (name string, t *Template, ok bool) {
	for _, b := range builtins {
		fits := true
		for _, token := range b.tokens {
			fits = fits && has(token)
		}
		if !fits {
			continue
		}
		t, err := Parse(b.source)
		if err != nil {
			panic("chat: the built-in template " + b.name + ": " + err.Error()) // a test renders each
		}
		return b.name, t, true
	}
	return "", nil, false
}
