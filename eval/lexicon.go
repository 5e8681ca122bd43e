package eval

import "strings"

// The words that prompts are filled with. Changing them changes every sample that has words: results of before can not be added to.
const (
	adjectives = `able agile amber ample ancient angry arctic autumn azure bald basic bitter black blank bleak blind blue blunt bold brass brave
		brief bright broad broken bronze brown busy calm careful casual cautious central certain cheap chief civil clean clear clever cloudy
		coarse cold common cool coral costly cozy crimson crisp crooked cruel curious curly damp daring dark decent deep dense dim distant
		double dry dull dusty eager early earnest eastern easy elder empty equal even exact extra fair faint faithful false famous fancy fast
		fatal feeble fertile fierce final fine firm flat fond formal forward fragile free frequent fresh frosty frozen full funny gentle
		giant glad global gloomy golden good grand grateful grave gray great green grim gross hairy handy happy harsh hasty hazy heavy hidden
		high hollow holy honest humble icy idle ideal inner iron ivory jolly joyful junior keen kind large late lazy lean legal lesser light
		little lively local lofty lonely long loose loud lovely loyal lucky lunar major marble mellow merry mighty mild minor misty modern
		modest moist muddy narrow native neat new nimble noble noisy northern odd old olive open orange outer oval pale patient perfect
		plain playful polite poor proper proud pure purple quick quiet rapid rare raw ready real recent red regal remote rich rigid ripe
		rocky rotten rough round royal rural rusty sacred safe salty sandy scarlet secret senior serene shallow sharp shiny short shy silent
		silver simple single slender slim slow small smooth snowy sober soft solar solid sour southern spare special spicy stable steady
		steep stern stiff still stormy stout straight strange strict strong sturdy subtle sudden sunny super sweet swift tall tame tender
		thick thin tidy tight tiny tired tough tragic true upper urban useful usual vague vain vast velvet violet vital vivid warm wary weak
		wealthy weary western white whole wide wild windy wise witty wooden woolen yellow young`
	nouns = `acorn actor alarm album alley almond anchor angel ankle answer ant apple apron arch arena arm armor arrow artist atlas attic aunt
		axe badge badger bakery ball balloon bamboo banana bank banner barber bark barn barrel basin basket bat battery beach bead beam bean
		bear beard beaver bed bee beetle bell belt bench berry bicycle bird biscuit blanket blossom board boat bolt bone book boot border
		bottle boulder bowl box bracelet branch bread breeze brick bridge broom brother brush bubble bucket buffalo bulb bull bundle butter
		button cabin cable cactus cage cake camel camera camp canal candle candy cannon canoe canvas canyon cape captain card cargo carpet
		carrot cart castle cat cave cedar ceiling cellar cello chain chair chalk chapel chariot cheese cherry chess chest chimney church
		circle circus city clam clay cliff clock cloth cloud clover coach coal coast coat cobra coconut coffee coin collar comet compass
		copper coral cork corn corner cottage cotton couch cousin crab cradle crane crater crayon cream creek cricket crow crown crystal cup
		curtain cushion dagger daisy dancer daughter deer delta desert desk diamond diary dinner doctor dog doll dolphin donkey door dove
		dragon drawer dress drum duck dune eagle ear easel echo egg elbow elephant elm ember engine envelope fabric falcon farmer feather
		fence fern ferry fiddle field fig finger fire fish flag flame flask flood floor flour flower flute fog forest fork fort fossil
		fountain fox frame frog frost fruit galaxy gallery garden garlic gate geese ghost giraffe glacier glass globe glove goat goblet goose
		grain grape grass gravel guitar gull hail hammer hammock hand harbor harp harvest hat hawk hazel heart hedge helmet hen herb heron
		hill hinge hive honey hood hook horizon horn horse hotel house icicle ink insect inn island ivy jacket jar jaw jelly jewel judge
		jug juice jungle kettle key kitchen kite kitten knee knife knight knot lace ladder lake lamb lamp lantern lark lawn leaf leather
		lemon lens letter lever library lily lime linen lion lizard lobster lock locket log loom lotus magnet mango manor mantle map maple
		market marsh mask mast meadow medal melon mill mint mirror mitten mole monkey moon moose morning moss moth mountain mouse mule museum
		mushroom napkin nail necklace needle nephew nest net night nose notebook nut oak oar oasis oat ocean octopus onion opal orbit orchard
		orchid organ otter oven owl ox oyster paddle page palace palm panda paper parade park parrot pasture path peach peacock pear pearl
		pebble pelican pen pencil pepper petal piano pie pier pigeon pillar pillow pilot pine pipe pirate plain planet plate plaza plum
		pocket poem poet pond pony porch port potato prairie prince prism pumpkin puppet puzzle pyramid quail quarry queen quill quilt rabbit
		radio radish raft rail rain raisin ranch raven razor reef ribbon rice ring river road robe robin rocket roof root rope rose rug ruler
		saddle sail sailor salad salmon salt sand sandal satin sauce saucer scale scarf school scissors seal season seed shark shed sheep
		shelf shell shepherd ship shirt shoe shore shovel silk sink sister skate skirt sky sled sleeve smoke snail snake snow soap sock sofa
		soil soldier spark sparrow spear sphere spice spider spoon spring spruce square squirrel stable staircase stamp star statue steam
		stem stone stool storm stove straw stream street string sugar summit sun swan sword table tailor tea teacher temple tent theater
		thistle thorn thread throne thumb thunder tiger tile timber toad toast tomato tongue torch tower town trail train tree trout trumpet
		trunk tulip tunnel turkey turtle uncle valley vase vault veil village vine vinegar violin volcano voyage wagon waiter wall wallet
		walnut walrus water wave wax weasel well whale wheat wheel whip whistle widow willow wind window wing winter wizard wolf wool worm
		wreath wrist yard yarn zebra`
	verbs = `accept adapt admire advise agree allow amuse announce appear apply argue arise arrange arrive attach attend avoid bake balance become
		begin behave believe belong bend blink boil borrow bounce breathe build burn carry carve catch cause chase choose chop claim climb
		collect compare complain consider contain copy count cover crawl create cross decide defend deliver deny depend describe deserve
		develop differ discover divide drag draw drift drive drop earn encourage enjoy enter escape examine exist expand expect explain
		explore fetch fill find finish float follow forget forgive gather give glow grab greet grow guess guide happen hear help hesitate
		hide hire hope hurry imagine improve include inform insist introduce invent invite join jump kneel know laugh launch lead learn
		leave lend listen live lose maintain manage measure melt mend mention mix move need notice obey observe obtain occur offer ordain
		owe pack paint pause perform permit persuade pour practise praise pray predict prefer prepare pretend prevent produce promise
		protect prove pull punish push reach receive recognise refuse regret reject relax release rely remain remember remind remove repair
		repeat replace reply rescue respond return reveal rub run save say scatter scrape search seem sell send settle shake share shine
		shout sing sit sleep slide smile sneeze solve speak spend spill spread squeeze stand stare stay steal stir stretch strike succeed
		suffer suggest supply support surround survive swallow sweep swim swing talk teach tell tempt thank think throw tolerate touch
		translate travel treat tremble trust turn unite vanish visit wait wake walk wander want warn wash watch weave weep weigh welcome
		whisper win wipe wish wonder worry wrap write yell yield`
)

// ownLexicon are the words of keys.
func ownLexicon() lexicon { return lexicon{strings.Fields(adjectives), strings.Fields(nouns)} }

// ownWords are the words of lists, each once, and for lists that want more of them, pairs in one word.
func ownWords() (words, pairs []string) {
	seen := map[string]bool{}
	for _, w := range strings.Fields(nouns + " " + adjectives + " " + verbs) {
		if !seen[w] {
			seen[w] = true
			words = append(words, w)
		}
	}
	l := ownLexicon()
	for _, a := range l.adjectives {
		for _, n := range l.nouns {
			if w := a + n; !seen[w] {
				seen[w] = true
				pairs = append(pairs, w)
			}
		}
	}
	return words, pairs
}
