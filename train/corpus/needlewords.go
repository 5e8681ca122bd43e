package corpus

// The words of keys, and the sentences between needles where no text is given. Changing them changes every document: the
// digest of needles in needle.go then needs another number.
var (
	needleAdjectives = []string{
		"amber", "ancient", "bitter", "black", "blue", "bold", "brass", "brave", "bright", "broken", "bronze", "brown",
		"calm", "careful", "clever", "cold", "common", "crimson", "crooked", "curious", "dark", "dusty", "eager", "early",
		"empty", "faded", "famous", "first", "gentle", "golden", "grand", "green", "grey", "happy", "heavy", "hidden",
		"hollow", "humble", "iron", "ivory", "kind", "last", "little", "lonely", "lucky", "narrow", "noble", "northern",
		"old", "pale", "patient", "plain", "polished", "proud", "quiet", "red", "round", "rusty", "sharp", "silent",
		"silver", "simple", "sleepy", "wooden",
	}
	needleNouns = []string{
		"anchor", "apple", "arrow", "barrel", "basket", "bell", "boat", "bottle", "branch", "bridge", "brother", "bucket",
		"candle", "captain", "castle", "chain", "chair", "church", "clock", "coat", "corner", "cottage", "daughter", "doctor",
		"door", "farmer", "feather", "field", "fisher", "forest", "garden", "gate", "hammer", "harbour", "horse", "island",
		"kettle", "ladder", "lake", "lamp", "letter", "meadow", "mill", "mirror", "mountain", "needle", "oak", "orchard",
		"picture", "pilot", "prince", "ribbon", "river", "road", "sailor", "school", "shepherd", "stone", "table", "tower",
		"valley", "village", "wagon", "window",
	}
	needleFiller = []string{
		"The rain had stopped before noon, and the road was dry again by the evening.",
		"Nobody in the house remembered who had left the gate open.",
		"A long row of carts stood along the wall of the market.",
		"She read the page twice and put the book back on the shelf.",
		"In the spring the water rises as far as the second step.",
		"They walked for an hour without saying a word.",
		"The bread was still warm when the children came home.",
		"From the hill one could see the roofs of three villages.",
		"He counted the boats, as he did every morning, and went inside.",
		"There was little to do but to wait for the wind to turn.",
		"The old men talked about the harvest and about the price of wool.",
		"A dog barked somewhere behind the mill, and then it was still.",
		"The lamp on the table burned until midnight.",
		"Two of the windows looked out over the yard and the well.",
		"It was the kind of day on which nothing happens.",
		"The boy carried the basket in his left hand and the letters in his right.",
		"Snow lay on the fields for the whole of that month.",
		"The carpenter promised to come on Thursday, and came on Friday.",
		"Under the bridge the stream was shallow enough to cross.",
		"Most of the guests had gone before the music ended.",
		"They mended the nets while the light lasted.",
		"The path went between the hedges and came out at the church.",
		"Her brother wrote once a year, always in the same words.",
		"The wheels left deep marks in the clay.",
	}
)
