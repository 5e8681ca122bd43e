package compute

import (
	"encoding/binary"
	"encoding/json"
	"fmt"
	"math"
	"os"
	"testing"
)

// goldenArray is an array of gradients.json: four bytes an element.
type goldenArray struct {
	Shape []int  `json:"shape"`
	Data  []byte `json:"data"`
}

// f32 is nil where the file has no such array.
func (a goldenArray) f32() []float32 {
	if a.Shape == nil {
		return nil
	}
	v := make([]float32, len(a.Data)/4)
	for i := range v {
		v[i] = math.Float32frombits(binary.LittleEndian.Uint32(a.Data[4*i:]))
	}
	return v
}

func (a goldenArray) i32() []int32 {
	v := make([]int32, len(a.Data)/4)
	for i := range v {
		v[i] = int32(binary.LittleEndian.Uint32(a.Data[4*i:]))
	}
	return v
}

// goldenCase is one op with what PyTorch makes of it in float64.
type goldenCase struct {
	Op       string                 `json:"op"`
	Inputs   map[string]goldenArray `json:"inputs"`
	Want     map[string]goldenArray `json:"want"`
	Settings struct {
		Eps         float32   `json:"eps"`
		Interleaved bool      `json:"interleaved"`
		Factor      float32   `json:"factor"`
		Scale       float32   `json:"scale"`
		Rates       []float32 `json:"rates"`
		Factors     []float32 `json:"factors"`
		Decay       float32   `json:"decay"`
		Beta1       float32   `json:"beta1"`
		Beta2       float32   `json:"beta2"`
	} `json:"settings"`
}

// in is an input of the case, and nil where it has none of the name.
func (c *goldenCase) in(name string) []float32 { return c.Inputs[name].f32() }

func (c *goldenCase) tensor(name string) Tensor { return F32s(c.in(name), c.Inputs[name].Shape...) }

// zeros are as many as the values of an input.
func (c *goldenCase) zeros(name string) []float32 {
	v := c.in(name)
	clear(v)
	return v
}

// goldenOps run the definitions and return what they give, by the names of the file.
var goldenOps = map[string]func(c *goldenCase) map[string][]float32{
	"linear": func(c *goldenCase) map[string][]float32 {
		out, dx, dw, db := c.zeros("dy"), c.zeros("x"), c.tensor("weight"), c.zeros("bias")
		clear(dw.Data)
		Linear(out, c.in("x"), c.tensor("weight"), c.in("bias"))
		LinearInputGrad(dx, c.in("dy"), c.tensor("weight"), false)
		LinearWeightGrad(dw, db, c.in("dy"), c.in("x"))
		return map[string][]float32{"out": out, "dx": dx, "dweight": dw.F32(), "dbias": db}
	},
	"embed": func(c *goldenCase) map[string][]float32 {
		out, dtable, ids := c.zeros("dy"), c.tensor("table"), c.Inputs["ids"].i32()
		clear(dtable.Data)
		Embed(out, c.tensor("table"), ids)
		EmbedGrad(dtable, c.in("dy"), ids)
		return map[string][]float32{"out": out, "dtable": dtable.F32()}
	},
	"norm": func(c *goldenCase) map[string][]float32 {
		out, dx, dw := c.zeros("x"), c.zeros("x"), c.zeros("weight")
		RMSNorm(out, c.in("x"), c.in("weight"), c.Settings.Eps)
		RMSNormGrad(dx, dw, c.in("dy"), c.in("x"), c.in("weight"), c.Settings.Eps, false)
		return map[string][]float32{"out": out, "dx": dx, "dweight": dw}
	},
	"rotate": func(c *goldenCase) map[string][]float32 {
		rope := &Rope{Inv: c.in("inv"), Factor: c.Settings.Factor, Interleaved: c.Settings.Interleaved}
		shape, position := c.Inputs["x"].Shape, c.Inputs["position"].i32()
		angles := make([]float32, 2*len(rope.Inv)*len(position))
		Angles(angles, position, rope)
		out, dx := c.in("x"), c.in("dy")
		Rotate(out, angles, shape[1], shape[2], rope)
		RotateGrad(dx, angles, shape[1], shape[2], rope)
		return map[string][]float32{"out": out, "dx": dx}
	},
	"swiglu": func(c *goldenCase) map[string][]float32 {
		out, gate, up := c.zeros("up"), c.in("gate"), c.in("up")
		SwiGLU(out, gate, up)
		SwiGLUGrad(gate, up, c.in("dy"), gate, up)
		return map[string][]float32{"out": out, "dgate": gate, "dup": up}
	},
	"importance": func(c *goldenCase) map[string][]float32 {
		out, dv, ddelta, dbias, da := c.zeros("dy"), c.zeros("v"), c.zeros("delta"), c.zeros("bias"), c.zeros("a")
		Importance(out, c.in("v"), c.in("delta"), c.in("bias"), c.in("a"))
		ImportanceGrad(dv, ddelta, dbias, da, c.in("dy"), c.in("v"), c.in("delta"), c.in("bias"), c.in("a"))
		return map[string][]float32{"out": out, "dv": dv, "ddelta": ddelta, "dbias": dbias, "da": da}
	},
	"cross_entropy": func(c *goldenCase) map[string][]float32 {
		logits, targets := c.in("logits"), c.Inputs["targets"].i32()
		loss := make([]float32, len(targets))
		CrossEntropy(loss, logits, targets, c.Settings.Scale)
		return map[string][]float32{"loss": loss, "dlogits": logits}
	},
	"adamw": func(c *goldenCase) map[string][]float32 {
		w, grads := c.in("weight"), c.in("grads")
		m, v := make([]float32, len(w)), make([]float32, len(w))
		set := &c.Settings
		for i, rate := range set.Rates {
			AdamW(w, m, v, grads[i*len(w):(i+1)*len(w)], AdamWStep{
				Rate: rate, Beta1: set.Beta1, Beta2: set.Beta2, Eps: set.Eps, Decay: set.Decay, Grad: set.Factors[i], Step: i + 1,
			})
		}
		return map[string][]float32{"weight": w, "m": m, "v": v}
	},
}

// TestGradientsOfPyTorch holds the definitions against autograd (scripts/oracles/gradients.py):
// each element within 1e-5 of itself and 1e-6 of the largest.
func TestGradientsOfPyTorch(t *testing.T) {
	data, err := os.ReadFile("testdata/gradients.json")
	if err != nil {
		t.Fatal(err)
	}
	var file struct {
		Cases []goldenCase `json:"cases"`
	}
	if err := json.Unmarshal(data, &file); err != nil {
		t.Fatal(err)
	}
	seen := map[string]bool{}
	for i := range file.Cases {
		c := &file.Cases[i]
		seen[c.Op] = true
		t.Run(fmt.Sprintf("%s/%d", c.Op, i), func(t *testing.T) {
			got := goldenOps[c.Op](c)
			for name, want := range c.Want {
				w := want.f32()
				if len(got[name]) != len(w) {
					t.Fatalf("%s: %d elements, want %d", name, len(got[name]), len(w))
				}
				var most float64
				for _, x := range w {
					most = max(most, math.Abs(float64(x)))
				}
				for j, x := range w {
					if d := math.Abs(float64(got[name][j] - x)); !(d <= 1e-5*math.Abs(float64(x))+1e-6*most) {
						t.Fatalf("%s: element %d is %v, PyTorch says %v", name, j, got[name][j], x)
					}
				}
			}
		})
	}
	for op := range goldenOps {
		if !seen[op] {
			t.Errorf("the file has no case of %s", op)
		}
	}
}
