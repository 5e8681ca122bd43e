package chat

// The tree of a template. Nodes are made by the parser, completed by names.go
// and never changed afterwards, so that goroutines may share them.

// expr is a node that has a value.
type expr interface{ at() int }

// stmt is a node that is carried out.
type stmt interface{ at() int }

// pos is the line that a node begins in.
type pos int

func (p pos) at() int { return int(p) }

type (
	// constant is a literal.
	constant struct {
		pos
		val value
	}
	// name reads a variable, or is a place to store one.
	name struct {
		pos
		id string
	}
	// listLit and tupleLit are [a, b] and (a, b).
	listLit struct {
		pos
		items []expr
	}
	tupleLit struct {
		pos
		items []expr
	}
	// dictLit is {k: v}; keys and values have equal lengths.
	dictLit struct {
		pos
		keys, vals []expr
	}
	// unary is -a, +a or not a.
	unary struct {
		pos
		op kind
		x  expr
	}
	// binary is an arithmetic operation, or "and", "or".
	binary struct {
		pos
		op   kind
		x, y expr
	}
	// concat is a ~ b ~ c.
	concat struct {
		pos
		items []expr
	}
	// compare is a chain: first ops[0] rest[0] ops[1] rest[1] …
	compare struct {
		pos
		first expr
		ops   []kind
		rest  []expr
	}
	// choice is a if test else b; b is nil when there is no else.
	choice struct {
		pos
		test, yes, no expr
	}
	// attribute is x.name, item is x[index].
	attribute struct {
		pos
		x  expr
		id string
	}
	item struct {
		pos
		x, index expr
	}
	// slicing is x[from:to:step]; each of the three may be nil.
	slicing struct {
		pos
		x              expr
		from, to, step expr
	}
	// call is f(args). filter and test are calls by name with x as first argument;
	// x is nil in a filter block, whose text it takes.
	call struct {
		pos
		fn expr
		argList
	}
	filter struct {
		pos
		x  expr
		id string
		argList
	}
	test struct {
		pos
		x  expr
		id string
		argList
	}
)

// argList is what stands between the parentheses of a call.
type argList struct {
	args     []expr
	kwNames  []string
	kwVals   []expr
	star     expr // *args, or nil
	starStar expr // **kwargs, or nil
}

// target is a place to store: a name, an attribute of a namespace, or a tuple
// of targets.
type target struct {
	line  int
	id    string   // the name, empty for a tuple
	attr  string   // of the namespace in id, or empty
	items []target // of a tuple
	tuple bool
}

type (
	// text is what stands outside of tags, output is {{ … }}.
	text struct {
		pos
		s string
	}
	output struct {
		pos
		x expr
	}
	assign struct {
		pos
		to target
		x  expr
	}
	// assignBlock is {% set a %}…{% endset %}, with filters applied to its text.
	assignBlock struct {
		pos
		to     target
		filter expr
		body   body
	}
	ifStmt struct {
		pos
		tests  []expr
		bodies [][]stmt // one more than tests when there is an else
	}
	forStmt struct {
		pos
		to        target
		in        expr
		test      expr // nil: no filter
		recursive bool
		loop      bool // the body uses the variable loop
		body      body
		orElse    body
	}
	withStmt struct {
		pos
		to   []target
		vals []expr
		body body
	}
	macroStmt struct {
		pos
		*macroDef
	}
	// callBlock is {% call(args) f() %}…{% endcall %}.
	callBlock struct {
		pos
		call   *call
		caller *macroDef
	}
	filterBlock struct {
		pos
		filter expr
		body   body
	}
	// generation marks what the assistant wrote; its body has a scope of its own.
	generation struct {
		pos
		body body
	}
	breakStmt    struct{ pos }
	continueStmt struct{ pos }
)

// body is a list of statements that has a scope of its own. undef are the
// names that it stores straight away and that therefore do not reach outside,
// even before they are stored.
type body struct {
	list  []stmt
	undef []string
}

// macroDef is a macro, or the body of a call block (with the name "caller").
type macroDef struct {
	name     string
	line     int
	params   []string
	defaults []expr // of the last len(defaults) parameters
	body     body
	caller   bool // the body uses caller, kwargs, varargs
	kwargs   bool
	varargs  bool
}
